package fcgi

import (
	"io"
	"os"
)

// A spill is a queue of bytes in a temporary file, which is made when it is
// first needed and has no name after that.
type spill struct {
	f    *os.File
	r, w int64
}

// len returns how many bytes wait.
func (s *spill) len() int64 { return s.w - s.r }

func (s *spill) add(p []byte) (err error) {
	if s.f == nil {
		if s.f, err = os.CreateTemp("", "fcgi-body-"); err != nil {
			return err
		}
		removeOpen(s.f)
	}
	n, err := s.f.WriteAt(p, s.w)
	s.w += int64(n)
	return err
}

func (s *spill) read(p []byte) (int, error) {
	n, err := s.f.ReadAt(p[:min(int64(len(p)), s.len())], s.r)
	s.r += int64(n)
	if n > 0 || err == io.EOF {
		err = nil
	}
	if s.r == s.w && err == nil {
		s.r, s.w = 0, 0
		err = s.f.Truncate(0)
	}
	return n, err
}

func (s *spill) close() {
	if s.f != nil {
		s.f.Close()
		closedFile(s.f)
		*s = spill{}
	}
}
