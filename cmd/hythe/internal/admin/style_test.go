package admin

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Text must have a contrast of 4.5 to what it stands on, and lines one of 3
// (WCAG 2.2, 1.4.3 and 1.4.11).
func TestStyle_ContrastIsSufficient(t *testing.T) {
	b, err := assets.ReadFile("assets/style.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, ok := strings.Cut(string(b), "prefers-color-scheme: dark")
	if !ok {
		t.Fatal("there is no dark scheme")
	}
	for name, css := range map[string]string{"light": light, "dark": dark} {
		color := make(map[string]float64)
		for _, m := range regexp.MustCompile(`--([a-z0-9-]+): #([0-9a-f]+);`).FindAllStringSubmatch(css, -1) {
			color[m[1]] = luminance(t, m[2])
		}
		least := map[string]float64{
			"text ground": 4.5, "text card": 4.5, "text code": 4.5, "soft ground": 4.5, "soft card": 4.5, "soft code": 4.5, "link ground": 4.5, "link card": 4.5,
			"good good-g": 4.5, "warn warn-g": 4.5, "bad bad-g": 4.5, "calm calm-g": 4.5, "text warn-g": 4.5, "text bad-g": 4.5,
			"warn card": 4.5, "bad card": 4.5, "s0 card": 3, "s1 card": 3, "s0 calm-g": 3,
		}
		for pair, want := range least {
			a, b, _ := strings.Cut(pair, " ")
			x, y := color[a], color[b]
			if got := (max(x, y) + 0.05) / (min(x, y) + 0.05); got < want {
				t.Errorf("%s: %s on %s has %.2f, want %v", name, a, b, got, want)
			}
		}
	}
}

// luminance is the relative luminance of a color.
func luminance(t *testing.T, hex string) (l float64) {
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			l += weight * c / 12.92
		} else {
			l += weight * math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return l
}
