package com.example;

import static org.junit.Assert.*;

import org.junit.*;

public class CartTest {
    @Test
    public void adds() {
        assertEquals(5, 2 + 3);
    }

    @Test
    public void prints() {
        System.out.println("out ]]> & <tag> \u001b[31mred\u001b[0m \u0001");
        System.err.println("err");
    }

    @Test
    public void fails() {
        assertEquals("the total ]]> & <tag> \u001b[31mred\u001b[0m", 4, 3);
    }

    @Test
    public void breaksOff() throws Exception {
        throw new java.io.IOException("no database");
    }

    @Test
    public void breaksOffWithoutAMessage() {
        throw new IllegalStateException();
    }

    @Test
    @Ignore("needs a card reader")
    public void isIgnored() {}

    @Test
    public void isSkipped() {
        Assume.assumeTrue("no card reader", false);
    }
}
