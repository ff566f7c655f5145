//go:build unix && !linux

package listen

import "syscall"

const errnoNoNet = syscall.ENETDOWN // ENONET is Linux's; this one is in the list anyway
