package fcgi

import (
	"math"
	"net/http"
	"testing"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/hythetest"
)

func TestServerNeedsAHandler(t *testing.T) {
	srv := hythe.Server{Service: new(Server)}
	if err := srv.ListenAndServe(t.Context(), "tcp://127.0.0.1:0"); err == nil {
		t.Error("a Server without handlers serves")
	}
}

// dial serves h in memory.
func dial(t testing.TB, h http.HandlerFunc) *peer {
	return newPeer(t, hythetest.Dial(t, &hythe.Server{Service: &Server{Handler: h}}).Conn())
}

func TestLimitsThatAreOff(t *testing.T) {
	if n := or(-1, 5); n != math.MaxInt {
		t.Errorf("int: %d", n)
	}
	if n := or(int64(-2), 5); n != math.MaxInt64 {
		t.Errorf("int64: %d", n)
	}
	if n := or(0, 5); n != 5 {
		t.Errorf("zero: %d", n)
	}
}
