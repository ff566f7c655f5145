package crashfs_test

import (
	"fmt"
	"io"
	"os"

	"github.com/hythe-go/hythe/spool"
	"github.com/hythe-go/hythe/spool/crashfs"
)

func Example() {
	// A program that saves a file: it forgets to sync the directory.
	save := func(disk spool.FS, text string) error {
		f, err := disk.OpenFile("note", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte(text), 0); err != nil {
			return err
		}
		return f.Sync()
	}

	var disk crashfs.FS
	if err := save(&disk, "hello"); err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range []crashfs.Outcome{crashfs.Lost, crashfs.Kept} {
		after := disk.Crash(disk.Len(), o)
		f, err := after.OpenFile("note", os.O_RDONLY, 0)
		if err != nil {
			fmt.Println(err)
			continue
		}
		text, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
		fmt.Printf("%s %v\n", text, err)
	}
	// Output:
	// open note: no such file or directory
	// hello <nil>
}
