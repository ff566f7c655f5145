// Package sendfile knows what the kernel can send without help.
package sendfile

import (
	"io"
	"os"
	"syscall"
)

// Can reports whether r is a regular file, whatever its type: io.Copy hides that
// of an *os.File.
func Can(r io.Reader) bool {
	f, ok := r.(interface {
		syscall.Conn
		Stat() (os.FileInfo, error)
	})
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode().IsRegular()
}
