package hythe

// HoldTLSFiles has f look as if somebody were reading its files, until release
// is called.
func HoldTLSFiles(f *TLSFiles) (release func()) {
	f.mu.Lock()
	return f.mu.Unlock
}
