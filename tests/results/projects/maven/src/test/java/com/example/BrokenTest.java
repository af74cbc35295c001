package com.example;

import org.junit.jupiter.api.*;

class BrokenTest {
    @BeforeAll
    static void fails() {
        throw new IllegalStateException("no driver");
    }

    @Test
    void never() {}
}
