//go:build !windows

package fcgi

import "os"

// removeOpen removes the file's name: the file goes when it is closed.
func removeOpen(f *os.File) { os.Remove(f.Name()) }

func closedFile(*os.File) {}
