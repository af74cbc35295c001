<?php

namespace Tests;

use PHPUnit\Framework\TestCase;

class CartTest extends TestCase
{
    public function testAdds(): void
    {
        $this->assertSame(5, 2 + 3);
    }

    public function amounts(): array
    {
        return [
            [2, 2],
            'in euros' => [3, 4],
            '"quoted" <a & b> é 💥' => [1, 1],
            '' => [5, 5],
            "two\nlines" => [6, 6],
        ];
    }

    /** @dataProvider amounts */
    public function testAddsAmount(int $amount, int $total): void
    {
        $this->assertEquals($total, $amount);
    }

    public function testSkipped(): void
    {
        $this->markTestSkipped('needs a card reader');
    }

    public function testIncomplete(): void
    {
        $this->markTestIncomplete('to be written');
    }

    public function testBreaksOff(): void
    {
        throw new \RuntimeException("no database ]]> & <tag> \x1b[31mred\x1b[0m");
    }

    public function testPrints(): void
    {
        echo "out ]]> & <tag> \x1b[31mred\x1b[0m\n";
        $this->expectOutputRegex('/out/');
    }

    public function testPrintsBytes(): void
    {
        echo "bytes \xff\n";
        $this->assertTrue(true);
    }

    public function testRisky(): void
    {
    }

    public function testWarns(): void
    {
        trigger_error('deprecated', E_USER_DEPRECATED);
    }

    /** @depends testBreaksOff */
    public function testDepends(): void
    {
        $this->assertTrue(true);
    }
}
