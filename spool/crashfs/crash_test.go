package crashfs_test

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hythe-go/hythe/spool/crashfs"
)

const block = 4096

func TestBytesAreDurableAfterSync(t *testing.T) {
	var disk crashfs.FS
	f := open(t, &disk, "f")
	must(t, disk.SyncDir("/"))
	put(t, f, "one", 0)
	unsynced := disk.Len()
	must(t, f.Sync())
	synced := disk.Len()
	put(t, f, "two", 3)

	seen := left(t, &disk, unsynced, "f")
	for _, want := range []string{"", "one", "\x00\x00\x00"} {
		if seen[want] == 0 {
			t.Errorf("before Sync %q was never left, only %v", want, seen)
		}
	}
	if seen := left(t, &disk, synced, "f"); len(seen) != 1 || seen["one"] == 0 {
		t.Errorf("after Sync %v was left, want nothing but one", seen)
	}
	for b := range left(t, &disk, disk.Len(), "f") {
		if !strings.HasPrefix(b, "one") {
			t.Errorf("after another write %q was left: what was durable is harmed", b)
		}
	}
	if got := disk.Unsynced(synced); got != 0 {
		t.Errorf("Unsynced = %d after Sync", got)
	}
	if got := disk.Unsynced(disk.Len()); got != 2 {
		t.Errorf("Unsynced = %d after a write of one block, want it and the size", got)
	}
}

func TestBlocksSurviveInAnyCombination(t *testing.T) {
	var disk crashfs.FS
	f := open(t, &disk, "f")
	must(t, disk.SyncDir("/"))
	old := strings.Repeat("a", 3*block)
	put(t, f, old, 0)
	must(t, f.Sync())
	put(t, f, strings.Repeat("b", 3*block), 0)

	whole, torn := make(map[string]bool), 0
	for b := range left(t, &disk, disk.Len(), "f") {
		if len(b) != 3*block {
			t.Fatalf("%d bytes are left of a file that never had another size than %d", len(b), 3*block)
		}
		var blocks strings.Builder
		for p := range slices.Chunk([]byte(b), block) {
			s := string(p)
			if s != old[:block] && s != strings.Repeat("b", block) {
				torn++
				if cut := strings.Trim(s, "a"); strings.Trim(cut, "b") != "" {
					t.Fatal("a torn block is made of more than two parts")
				}
				continue
			}
			blocks.WriteByte(s[0])
		}
		if blocks.Len() == 3 {
			whole[blocks.String()] = true
		}
	}
	if len(whole) != 8 || torn == 0 {
		t.Errorf("blocks were left as %v, %d torn; want all 8 combinations, and torn ones", whole, torn)
	}
}

func TestNamesAreDurableAfterSyncDir(t *testing.T) {
	for _, journaled := range []bool{false, true} {
		disk := &crashfs.FS{Journaled: journaled}
		f := open(t, disk, "f")
		put(t, f, "x", 0)
		must(t, f.Sync())
		seen := left(t, disk, disk.Len(), "f")
		if journaled != (seen["-"] == 0) {
			t.Errorf("journaled %v: Sync without SyncDir left %v", journaled, seen)
		}
		must(t, disk.SyncDir("/"))
		if seen := left(t, disk, disk.Len(), "f"); len(seen) != 1 || seen["x"] == 0 {
			t.Errorf("journaled %v: SyncDir left %v", journaled, seen)
		}

		must(t, disk.Remove("f"))
		g := open(t, disk, "g")
		put(t, g, "y", 0)
		var combos [2][2]int // by whether f and g are left
		for o := range crashfs.Outcome(300) {
			after := disk.Crash(disk.Len(), o)
			_, f := content(t, after, "f")
			_, g := content(t, after, "g")
			combos[bit(f)][bit(g)]++
		}
		if both := combos[1][1] > 0; both == journaled || combos[0][0] == 0 || combos[0][1] == 0 || combos[1][0] == 0 {
			t.Errorf("journaled %v: a removal and a creation left, by f and g, %v", journaled, combos)
		}
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestRenameIsAllOrNothing(t *testing.T) {
	var disk crashfs.FS
	for _, name := range []string{"f", "new"} {
		f := open(t, &disk, name)
		put(t, f, name, 0)
		must(t, f.Sync())
	}
	must(t, disk.SyncDir("/"))
	must(t, disk.Rename("new", "f"))
	var seen [2]int
	for o := range crashfs.Outcome(100) {
		after := disk.Crash(disk.Len(), o)
		b, found := content(t, after, "f")
		_, old := content(t, after, "new")
		if !found || (string(b) == "f") != old {
			t.Fatalf("outcome %d: f is %q, new exists: %v", o, b, old)
		}
		seen[bit(old)]++
	}
	if seen[0] == 0 || seen[1] == 0 {
		t.Errorf("the rename was lost and kept %v times, want both", seen)
	}
}

func TestADirectoryIsLostWithItsName(t *testing.T) {
	var disk crashfs.FS
	must(t, disk.MkdirAll("d", 0o700))
	f := open(t, &disk, "d/f")
	must(t, f.Sync())
	must(t, disk.SyncDir("d"))
	if seen := left(t, &disk, disk.Len(), "d/f"); seen["-"] == 0 || seen[""] == 0 {
		t.Errorf("left %v, want the file sometimes lost and sometimes there", seen)
	}
	must(t, disk.SyncDir("/"))
	if seen := left(t, &disk, disk.Len(), "d/f"); len(seen) != 1 {
		t.Errorf("left %v after the parent was synced", seen)
	}
}

func TestAFailedSyncIsNotHealedByAnother(t *testing.T) {
	for _, evict := range []bool{false, true} {
		disk := &crashfs.FS{Evict: evict}
		f := open(t, disk, "f")
		put(t, f, "old", 0)
		must(t, f.Sync())
		must(t, disk.SyncDir("/"))
		put(t, f, "new", 0)
		disk.SetHook(crashfs.Fail(crashfs.Sync, "f", 0, 1, syscall.EIO))
		if err := f.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("Sync = %v, want EIO", err)
		}
		if got, _ := content(t, disk, "f"); (string(got) == "old") != evict {
			t.Errorf("evict %v: reads as %q", evict, got)
		}
		must(t, f.Sync())
		seen := left(t, disk, disk.Len(), "f")
		if seen["old"] == 0 || seen["new"] == 0 {
			t.Errorf("evict %v: after a Sync that succeeded %v was left, want old and new", evict, seen)
		}
		put(t, f, "new", 0)
		must(t, f.Sync())
		if seen := left(t, disk, disk.Len(), "f"); len(seen) != 1 || seen["new"] == 0 {
			t.Errorf("evict %v: after writing again and Sync %v was left, want new", evict, seen)
		}
		put(t, f, "longer", 0)
		disk.SetHook(crashfs.Fail(crashfs.Sync, "f", 0, 1, syscall.EIO))
		if f.Sync() == nil {
			t.Fatal("Sync succeeded")
		}
		put(t, f, "longer", 0)
		must(t, f.Sync())
		if seen := left(t, disk, disk.Len(), "f"); len(seen) != 1 || seen["longer"] == 0 {
			t.Errorf("evict %v: after writing the longer file again and Sync %v was left, want longer", evict, seen)
		}
	}
}

// A Sync that is under way need not cover what is written meanwhile.
func TestSyncCoversWhatWasWrittenBefore(t *testing.T) {
	var disk crashfs.FS
	f := open(t, &disk, "f")
	must(t, disk.SyncDir("/"))
	put(t, f, "one", 0)
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && c.N == 1 {
			put(t, f, "two", 3)
		}
		return nil
	})
	must(t, f.Sync())
	if seen := left(t, &disk, disk.Len(), "f"); seen["one"] == 0 || seen["onetwo"] == 0 || seen[""] != 0 {
		t.Errorf("left %v, want one, and sometimes onetwo", seen)
	}
	must(t, f.Sync())
	if seen := left(t, &disk, disk.Len(), "f"); len(seen) != 1 || seen["onetwo"] == 0 {
		t.Errorf("left %v, want onetwo", seen)
	}
}

func TestKillMakesNothingDurable(t *testing.T) {
	var disk crashfs.FS
	f := open(t, &disk, "f")
	put(t, f, "one", 0)
	must(t, f.Sync())
	must(t, disk.SyncDir("/"))
	put(t, f, "two", 3)
	disk.SetHook(crashfs.Fail(crashfs.Sync, "g", 0, 1, syscall.EIO))
	g := open(t, &disk, "g")
	put(t, g, "doubt", 0)
	must(t, disk.SyncDir("/"))
	if g.Sync() == nil {
		t.Fatal("Sync succeeded")
	}

	next := disk.Kill(disk.Len())
	for name, want := range map[string]string{"f": "onetwo", "g": "doubt"} {
		if got, _ := content(t, next, name); string(got) != want {
			t.Errorf("%s reads as %q after the kill, want %q", name, got, want)
		}
	}
	if seen := left(t, next, 0, "f"); seen["one"] == 0 || seen["onetwo"] == 0 {
		t.Errorf("a power failure after the kill left %v", seen)
	}
	must(t, open(t, next, "f").Sync())
	must(t, open(t, next, "g").Sync())
	if seen := left(t, next, next.Len(), "f"); len(seen) != 1 || seen["onetwo"] == 0 {
		t.Errorf("the next process's Sync left %v", seen)
	}
	if seen := left(t, next, next.Len(), "g"); len(seen) < 2 {
		t.Errorf("the next process's Sync healed what was in doubt: %v", seen)
	}
	if before, after := disk.Used(), next.Used(); before != after {
		t.Errorf("Used = %d after the kill, want %d", after, before)
	}
}

func TestStaleBlocksShowOtherFiles(t *testing.T) {
	disk := &crashfs.FS{Stale: true}
	secret := open(t, disk, "secret")
	put(t, secret, strings.Repeat("s", 8*block), 0)
	must(t, secret.Sync())
	must(t, disk.Remove("secret"))
	f := open(t, disk, "f")
	must(t, f.Sync())
	must(t, disk.SyncDir("/"))
	put(t, f, strings.Repeat("f", block), 0)
	if seen := left(t, disk, disk.Len(), "f"); seen[strings.Repeat("s", block)] == 0 {
		t.Errorf("the removed file's blocks never showed in %d different contents", len(seen))
	}
}

func TestTheHookFailsWhatItIsAskedTo(t *testing.T) {
	var disk crashfs.FS
	must(t, disk.MkdirAll("d", 0o700))
	f := open(t, &disk, "d/f")
	disk.SetHook(crashfs.Fail(crashfs.Write, "f", 1, 2, &crashfs.Short{N: 2, Err: syscall.EIO}))
	put(t, f, "one", 0)
	for range 2 {
		if n, err := f.WriteAt([]byte("abc"), 3); n != 2 || !errors.Is(err, syscall.EIO) {
			t.Errorf("WriteAt = %d, %v, want 2, EIO", n, err)
		}
	}
	put(t, f, "!", 5)
	if b, _ := content(t, &disk, "d/f"); string(b) != "oneab!" {
		t.Errorf("content is %q", b)
	}

	var kinds []crashfs.Op
	disk.SetHook(func(c crashfs.Call) error {
		kinds = append(kinds, c.Op)
		return syscall.EIO
	})
	before := disk.Len()
	_, errRead := f.ReadAt(make([]byte, 1), 0)
	_, errWrite := f.WriteAt([]byte("x"), 0)
	_, errDir := disk.ReadDir("d")
	_, errLock := disk.Lock("d/lock")
	for i, err := range []error{
		disk.MkdirAll("e", 0o700), openErr(&disk, "d/g", 0), errDir, disk.Rename("d/f", "d/g"), disk.Remove("d/f"),
		disk.SyncDir("d"), errLock, errRead, errWrite, f.Truncate(0), f.Allocate(1), f.Sync(),
	} {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%v did not fail: %v", crashfs.Op(i), err)
		}
	}
	if slices.Sort(kinds); len(slices.Compact(kinds)) != 12 {
		t.Errorf("the hook saw %v", kinds)
	}
	if got := disk.Len() - before; got != 1 { // the Sync
		t.Errorf("what failed left %d operations in the log: %q", got, disk.Log(disk.Len())[before:])
	}
}

func TestTenThousandCrashesAreCheap(t *testing.T) {
	var disk crashfs.FS
	f := open(t, &disk, "f")
	for i := range 2000 {
		put(t, f, strings.Repeat("x", 100), int64(i)*100)
		if i%5 == 4 {
			must(t, f.Sync())
		}
	}
	start, crashes := time.Now(), 0
	for at := range disk.Len() + 1 {
		for o := range crashfs.Outcome(5) {
			disk.Crash(at, o)
			crashes++
		}
	}
	took := time.Since(start)
	t.Logf("%d crashes of a file of 200 kB in %v", crashes, took)
	if crashes < 10_000 || took > 5*time.Second {
		t.Errorf("%d crashes took %v", crashes, took)
	}
}
