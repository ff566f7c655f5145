package listen

import (
	"os"
	"path/filepath"
)

// unlinker returns a function that removes path as long as it is the file that
// is there now. While our socket is open its inode number is not given to
// another file, so device and inode tell for certain.
func unlinker(path string) func() {
	abs, err := filepath.Abs(path) // the working directory may change
	if err != nil {
		abs = path
	}
	ours, err := os.Lstat(abs)
	if err != nil {
		return func() {}
	}
	return func() {
		if now, err := os.Lstat(abs); err == nil && os.SameFile(ours, now) {
			os.Remove(abs) // if it cannot be, the next starter finds it stale
		}
	}
}
