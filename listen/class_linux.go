package listen

import "syscall"

const errnoNoNet = syscall.ENONET
