//go:build !unix && !windows

package httpd

func discardUnsent(uintptr) {}
