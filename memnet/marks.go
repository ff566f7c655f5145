package memnet

import "slices"

// marks are functions to be called at certain places of a stream, the nearest
// first. The lock of the half they belong to guards them.
type marks []mark

type mark struct {
	offset int64
	f      func()
}

// add inserts a mark, after those with the same offset.
func (m *marks) add(offset int64, f func()) {
	i := len(*m)
	for i > 0 && (*m)[i-1].offset > offset {
		i--
	}
	*m = slices.Insert(*m, i, mark{offset, f})
}

// cut returns the most of n bytes that may pass after pos bytes have passed,
// such that no mark is stepped over. Marks that pos has reached do not count:
// their functions are being called.
func (m *marks) cut(pos int64, n int) int {
	for _, mark := range *m {
		if mark.offset > pos {
			return int(min(int64(n), mark.offset-pos))
		}
	}
	return n
}

// due removes and returns the function of the first mark if pos has reached
// it, and nil if not.
func (m *marks) due(pos int64) func() {
	if len(*m) == 0 || (*m)[0].offset > pos {
		return nil
	}
	f := (*m)[0].f
	if *m = slices.Delete(*m, 0, 1); len(*m) == 0 {
		*m = nil
	}
	return f
}
