//go:build !unix && !windows

package listen

func classifyErrno(error) (class Class, known bool) { return ClassFatal, false }
