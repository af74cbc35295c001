package cart

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestAdds(t *testing.T) {
	for _, name := range []string{"two and three", "", "", "a/b", `"quoted" <a & b>`, "é 💥"} {
		t.Run(name, func(t *testing.T) {})
	}
}

func TestPrints(t *testing.T) {
	fmt.Println("out ]]> & <tag> \x1b[31mred\x1b[0m")
	fmt.Fprintln(os.Stderr, "err")
}

func TestFails(t *testing.T) {
	t.Errorf("total = %d, want %d ]]> \x1b[31mred\x1b[0m \x01", 3, 4)
}

func TestOuter(t *testing.T) {
	t.Run("inner", func(t *testing.T) {
		t.Run("innermost", func(t *testing.T) { t.Fatal("the innermost fails") })
		t.Run("passes", func(t *testing.T) {})
	})
}

func TestSkipped(t *testing.T) { t.Skip("needs a card reader") }

// Passes at the third try.
func TestFlaky(t *testing.T) {
	tried := filepath.Join(os.Getenv("TRIES"), "tries")
	text, _ := os.ReadFile(tried)
	if len(text) < 2 {
		if err := os.WriteFile(tried, append(text, '.'), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Fatal("try", len(text)+1)
	}
}

func ExampleTotal() {
	fmt.Println(3)
	// Output: 4
}
func Total() {}

func FuzzParses(f *testing.F) {
	f.Add("3 EUR")
	f.Fuzz(func(t *testing.T, text string) {})
}
