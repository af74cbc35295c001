package com.example;

import static org.junit.Assert.*;

import java.util.*;
import org.junit.*;
import org.junit.runner.RunWith;
import org.junit.runners.Parameterized;

@RunWith(Parameterized.class)
public class AmountTest {
    @Parameterized.Parameters(name = "{0} \"<a & b>\" é 💥")
    public static Collection<Object[]> amounts() {
        return Arrays.asList(new Object[][] {{3}, {4}});
    }

    private final int amount;

    public AmountTest(int amount) {
        this.amount = amount;
    }

    @Test
    public void isPaid() {
        assertEquals(3, amount);
    }
}
