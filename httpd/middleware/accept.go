package middleware

import (
	"strconv"
	"strings"
)

// choose returns the encoding that an Accept-Encoding header likes best of those
// on offer, which stand in our order of preference, or "" for none: RFC 9110,
// section 12.5.3. No coding at all is taken only for being liked better than
// each of ours; a header that forbids everything gets it, too.
func choose(accept []string, offers []string) string {
	best, bestQ, identity, star := "", 0.0, -1.0, 0.0
	given := make(map[string]float64)
	for _, value := range accept {
		for item := range strings.SplitSeq(value, ",") {
			name, q := cutQuality(item)
			given[name] = q
			switch name {
			case "identity":
				identity = q
			case "*":
				star = q
			}
		}
	}
	for _, offer := range offers {
		q, named := given[offer]
		if !named && offer == "gzip" {
			q, named = given["x-gzip"]
		}
		if !named {
			q = star
		}
		if q > bestQ {
			best, bestQ = offer, q
		}
	}
	if identity > bestQ {
		return ""
	}
	return best
}

// cutQuality takes "gzip;q=0.5" apart. A weight that is none counts as 0.
func cutQuality(item string) (name string, q float64) {
	name, params, _ := strings.Cut(item, ";")
	name = strings.ToLower(strings.Trim(name, " \t"))
	params = strings.Trim(params, " \t")
	if params == "" {
		return name, 1
	}
	weight, ok := strings.CutPrefix(strings.ToLower(params), "q=")
	q, err := strconv.ParseFloat(weight, 64)
	if !ok || err != nil || !(q >= 0 && q <= 1) {
		return name, 0
	}
	return name, q
}
