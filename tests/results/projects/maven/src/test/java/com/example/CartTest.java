package com.example;

import static org.junit.jupiter.api.Assertions.*;

import org.junit.jupiter.api.*;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.*;

class CartTest {
    @Test
    void adds() {
        assertEquals(5, 2 + 3);
    }

    @ParameterizedTest
    @CsvSource({"3, EUR", "4, '\"<a & b>\" é 💥'"})
    void addsAmount(int amount, String currency) {
        System.out.println(currency);
    }

    @ParameterizedTest
    @ValueSource(strings = {"", " "})
    void takesBlanks(String text) {}

    @ParameterizedTest
    @ValueSource(ints = {1, 2})
    void failsFor(int amount) {
        assertEquals(1, amount);
    }

    @RepeatedTest(2)
    void repeats() {}

    @Test
    @DisplayName("shows 'another' <name> & é 💥")
    void hasADisplayName() {}

    @Test
    void prints() {
        System.out.println("out ]]> & <tag> \u001b[31mred\u001b[0m");
        System.err.println("err");
    }

    @Test
    void fails() {
        assertEquals(4, 3, "the total ]]> & <tag> \u001b[31mred\u001b[0m");
    }

    @Test
    void breaksOff() throws Exception {
        throw new java.io.IOException("no database");
    }

    @Test
    void breaksOffWithoutAMessage() {
        throw new IllegalStateException();
    }

    @Test
    @Disabled("needs a card reader")
    void isDisabled() {}

    @Test
    void isSkipped() {
        Assumptions.assumeTrue(false, "no card reader");
    }

    @TestFactory
    java.util.stream.Stream<DynamicTest> dynamic() {
        return java.util.stream.Stream.of(
                DynamicTest.dynamicTest("one", () -> {}),
                DynamicTest.dynamicTest("two", () -> fail("the second")));
    }

    @Nested
    class Checkout {
        @Test
        void pays() {}
    }
}
