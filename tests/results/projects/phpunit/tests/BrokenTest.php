<?php

namespace Tests;

use PHPUnit\Framework\TestCase;

class BrokenTest extends TestCase
{
    public static function setUpBeforeClass(): void
    {
        throw new \RuntimeException('no database');
    }

    public function testNever(): void
    {
        $this->assertTrue(true);
    }
}
