package spool_test

import (
	"testing"

	"github.com/hythe-go/hythe/spool"
)

func TestReason_IsAWord(t *testing.T) {
	for why, want := range map[spool.Reason]string{
		0: "unknown", spool.Damaged: "damaged", spool.Unfinished: "unfinished", spool.Dropped: "dropped", spool.Expired: "expired", 9: "reason 9",
	} {
		if got := why.String(); got != want {
			t.Errorf("Reason(%d) = %q, want %q", uint8(why), got, want)
		}
	}
	gap := &spool.GapError{First: 3, Last: 5, Reason: spool.Dropped}
	if got, want := gap.Error(), "spool: records 3 to 5 are dropped"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
