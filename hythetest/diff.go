package hythetest

import (
	"fmt"
	"strconv"
)

// most is how many bytes of a text a message shows.
const most = 200

// quote returns s quoted, or as much of it as fits.
func quote(s string) string {
	if len(s) > most {
		return fmt.Sprintf("%q... (%d bytes)", s[:most], len(s))
	}
	return strconv.Quote(s)
}

// differ says that got is not want, which is of the given kind. Of long texts it
// shows the part where they differ.
func differ(got, kind, want string) string {
	if len(got) <= most && len(want) <= most {
		return fmt.Sprintf("got %q, want %s%q", got, kind, want)
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	return fmt.Sprintf("got %d bytes, want %s%d; from byte %d on got %s, want %s", len(got), kind, len(want), at, near(got, at), near(want, at))
}

// near returns the part of s that begins at a byte.
func near(s string, at int) string {
	if s = s[at:]; len(s) > most/4 {
		return strconv.Quote(s[:most/4]) + "..."
	}
	return strconv.Quote(s)
}
