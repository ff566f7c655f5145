//go:build !windows

package fcgi

import (
	"os"
	"syscall"
)

var spawnedSignals = []os.Signal{syscall.SIGTERM, syscall.SIGUSR1}
