package spool_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

const fullDiskEnv = "SPOOL_FULL_DISK"

// On a real filesystem of 4 MiB, mounted for a child process alone.
func TestFullDiskRefusesAndHeals(t *testing.T) {
	if dir := os.Getenv(fullDiskEnv); dir != "" {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
			fmt.Println("no tmpfs:", err)
			os.Exit(4)
		}
		fillAndDrain(t, filepath.Join(dir, "queue"), nil, func() int64 {
			var s syscall.Statfs_t
			if err := syscall.Statfs(dir, &s); err != nil {
				t.Fatal(err)
			}
			return int64(s.Bavail) * int64(s.Bsize)
		})
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestFullDiskRefusesAndHeals$", "-test.timeout=60s", "-test.v")
	child.Env = append(os.Environ(), fullDiskEnv+"="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := child.CombinedOutput()
	exit, ran := errors.AsType[*exec.ExitError](err)
	switch {
	case err != nil && !ran:
		t.Skipf("no private namespaces here: %v", err)
	case ran && exit.ExitCode() == 4:
		t.Skipf("no private mounts here: %s", out)
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
