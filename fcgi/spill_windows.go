package fcgi

import "os"

// removeOpen does nothing: an open file cannot be removed here.
func removeOpen(*os.File) {}

func closedFile(f *os.File) { os.Remove(f.Name()) }
