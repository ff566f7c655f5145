//go:build !unix

package hythe

func closeFD(int) {}
