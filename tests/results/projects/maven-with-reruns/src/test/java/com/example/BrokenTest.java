package com.example;

import org.junit.*;

public class BrokenTest {
    @BeforeClass
    public static void fails() {
        throw new IllegalStateException("no driver");
    }

    @Test
    public void never() {}
}
