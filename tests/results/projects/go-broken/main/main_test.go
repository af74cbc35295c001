package main

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	println("no database")
	os.Exit(2)
}

func TestNever(t *testing.T) {}
