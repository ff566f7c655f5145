package memnet

import (
	"slices"
	"testing"
)

func TestMarks(t *testing.T) {
	var got []string
	var m marks
	add := func(offset int64, name string) { m.add(offset, func() { got = append(got, name) }) }
	add(7, "c")
	add(3, "a")
	add(7, "d")
	add(5, "b")
	for pos, wantCut := range []int{3, 2, 1, 2, 1, 2, 1, 10} {
		for f := m.due(int64(pos)); f != nil; f = m.due(int64(pos)) {
			f()
		}
		if cut := m.cut(int64(pos), 10); cut != wantCut {
			t.Errorf("cut(%d, 10) = %d, want %d", pos, cut, wantCut)
		}
	}
	if want := []string{"a", "b", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("called %v, want %v", got, want)
	}
}

func TestMarksCutIgnoresReached(t *testing.T) {
	m := marks{{offset: 3}, {offset: 5}}
	if got := m.cut(3, 10); got != 2 {
		t.Errorf("cut(3, 10) = %d, want 2", got)
	}
	if got := m.cut(5, 10); got != 10 {
		t.Errorf("cut(5, 10) = %d, want 10", got)
	}
}
