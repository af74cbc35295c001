package com.example;

import static org.junit.Assert.*;

import org.junit.*;

public class CartTest {
    static int tries;

    @Test
    public void adds() {
        assertEquals(5, 2 + 3);
    }

    @Test
    public void failsEachTime() throws Exception {
        tries++;
        System.out.println("try " + tries + " ]]> & <tag> \u001b[31mred\u001b[0m");
        if (tries % 3 == 0) throw new java.io.IOException("no database");
        fails("failsEachTime");
    }

    @Test
    public void failsTwiceAlone() {
        throw new IllegalStateException();
    }

    static int second;

    @Test
    public void passesAtTheThirdTry() throws Exception {
        second++;
        System.err.println("try " + second);
        if (second == 1) fail("first");
        if (second == 2) throw new java.io.IOException("second");
    }

    @Test
    @Ignore("needs a card reader")
    public void isIgnored() {}

    @Test
    public void isSkipped() {
        Assume.assumeTrue("no card reader", false);
    }

    private static void fails(String test) {
        fail(test + ": the total ]]> & <tag> \u001b[31mred\u001b[0m");
    }
}
