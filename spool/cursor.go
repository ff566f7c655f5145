package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A cursor is a reader's durable place: two slots in a small file, written in
// turn, so that one is always whole. It is written over in place and needs no
// room, so that acknowledging works on a full disk.
type cursor struct {
	name   string
	file   File          // nil: closed. Guarded by saving.saveMu
	turn   uint64        // of the slot that was written last; the next goes to the other
	saved  uint64        // what that says. Guarded by saving.saveMu
	low    atomic.Uint64 // everything below is acknowledged
	reader *Reader       // that has it; nil: none. Guarded by Spool.mu
	lost   [len(reasons)]atomic.Uint64
}

const (
	slotMagic = 0x72637968
	slotSize  = 28
	slotAway  = 4 << 10 // from one slot to the other: never in one block

	// endMark is the cursor that says where the spool ended when it was closed.
	endMark = "@end"
)

func putSlot(b []byte, name string, turn, low uint64) {
	binary.LittleEndian.PutUint32(b, slotMagic)
	binary.LittleEndian.PutUint32(b[4:], version)
	binary.LittleEndian.PutUint64(b[8:], turn)
	binary.LittleEndian.PutUint64(b[16:], low)
	binary.LittleEndian.PutUint32(b[24:], slotSum(b, name))
}

func getSlot(b []byte, name string) (turn, low uint64, ok bool) {
	if len(b) < slotSize || binary.LittleEndian.Uint32(b) != slotMagic || binary.LittleEndian.Uint32(b[24:]) != slotSum(b, name) {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:]), true
}

func slotSum(b []byte, name string) uint32 {
	return checksum(append([]byte(name), b[:24]...))
}

// validName says whether a reader may have the name, which becomes a file's.
func validName(name string) error {
	if name == "" || len(name) > 100 || strings.HasPrefix(name, ".") {
		return fmt.Errorf("spool: reader name %q: want 1 to 100 characters, the first not a dot", name)
	}
	for _, c := range []byte(name) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return fmt.Errorf("spool: reader name %q: want letters, digits, '.', '_' and '-'", name)
		}
	}
	return nil
}

// loadCursors finds the cursors that there are.
func (s *Spool) loadCursors() error {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), cursorSuffix)
		if !ok || name != endMark && validName(name) != nil {
			continue
		}
		c, err := s.openCursor(name)
		if err != nil {
			return err
		}
		s.cursors[name] = c
	}
	return nil
}

// openCursor opens a cursor that exists.
func (s *Spool) openCursor(name string) (*cursor, error) {
	f, err := s.fs.OpenFile(s.path(name+cursorSuffix), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	turn, low, whole := readSlots(f, name)
	if whole < 2 && len(s.segs) > 0 {
		low = max(low, s.segs[0].first) // what is not there may have been acknowledged
	}
	c := &cursor{name: name, file: f, turn: turn, saved: low}
	c.low.Store(low)
	if whole == 0 {
		s.o.Logger.Warn("spool: a cursor is damaged, and begins anew", "dir", s.dir, "reader", name)
	}
	return c, nil
}

// readSlots reads the newer of a cursor's slots that are whole, and says how many
// of them are.
func readSlots(f io.ReaderAt, name string) (turn, low uint64, whole int) {
	for i := range int64(2) {
		b := make([]byte, slotSize)
		n, _ := f.ReadAt(b, i*slotAway)
		t, l, ok := getSlot(b[:n], name)
		if !ok {
			continue
		}
		if whole++; whole == 1 || t > turn {
			turn, low = t, l
		}
	}
	return turn, low, whole
}

// makeCursor makes a cursor, durably. There may be a file of that name already.
func (s *Spool) makeCursor(name string, low uint64) (*cursor, error) {
	c := &cursor{name: name}
	c.low.Store(low)
	if err := s.replace(c); err != nil {
		return nil, err
	}
	return c, nil
}

// replace gives the cursor a new file. The old one stays if that fails.
func (s *Spool) replace(c *cursor) error {
	low := c.low.Load()
	to := s.path(c.name + cursorSuffix)
	tmp := to + ".tmp"
	f, err := s.fs.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	b := make([]byte, slotAway+slotSize)
	putSlot(b, c.name, 0, low)
	putSlot(b[slotAway:], c.name, 1, low)
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = s.fs.Rename(tmp, to)
	}
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	if err != nil {
		f.Close()
		s.fs.Remove(tmp)
		return err
	}
	c.close()
	c.file, c.turn, c.saved = f, 1, low
	return nil
}

// saveCursor makes a cursor durable, in a new file if it has to: one whose sync
// has failed is not to be trusted again.
func (s *Spool) saveCursor(c *cursor) error {
	err := c.save()
	if err == nil {
		return nil
	}
	if again := s.replace(c); again != nil {
		return errors.Join(err, again)
	}
	return nil
}

// save writes the cursor's next slot.
func (c *cursor) save() error {
	low := c.low.Load()
	turn := c.turn + 1
	var b [slotSize]byte
	putSlot(b[:], c.name, turn, low)
	if _, err := c.file.WriteAt(b[:], int64(turn%2)*slotAway); err != nil {
		return err
	}
	if err := c.file.Sync(); err != nil {
		return err
	}
	c.turn, c.saved = turn, low
	return nil
}

func (c *cursor) close() {
	if c.file != nil {
		c.file.Close()
		c.file = nil
	}
}

func (s *Spool) closeCursors() {
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	for _, c := range s.cursors {
		c.close()
	}
}

// saving is the part of a Spool that makes acknowledgements durable.
type saving struct {
	acks  atomic.Int64 // since the last save
	armed atomic.Bool  // timer will fire, or its function runs
	timer *time.Timer  // guarded by Spool.mu

	unsaved atomic.Bool // the last save that was due has failed

	saveMu sync.Mutex // one save at a time
}

// acknowledged counts acknowledgements and sees to it that they become durable.
func (s *Spool) acknowledged(n int) {
	total := int(s.acks.Add(int64(n)))
	if s.armed.Load() && total < s.o.CursorAcks {
		return
	}
	s.mu.Lock()
	defer s.unlock()
	switch {
	case s.closed: // Close saves
	case !s.armed.Load():
		s.armed.Store(true)
		s.work.Add(1)
		delay := s.o.CursorDelay
		if total >= s.o.CursorAcks {
			delay = 0
		}
		s.timer = time.AfterFunc(delay, s.saveDue)
	case s.timer.Stop():
		go s.saveDue()
	}
}

// saveDue runs when acknowledgements are to be saved.
func (s *Spool) saveDue() {
	defer s.work.Done()
	s.acks.Store(0)
	s.armed.Store(false)
	err := s.save()
	failing := err != nil
	switch {
	case failing && !s.unsaved.Swap(true):
		s.o.Logger.Error("spool: acknowledgements cannot be saved", "dir", s.dir, "err", err)
	case !failing && s.unsaved.Swap(false):
		s.o.Logger.Info("spool: acknowledgements are saved again", "dir", s.dir)
	}
	if failing {
		s.acknowledged(0) // try again
	}
}

// stopSaving has no save begin any more. s.mu is held.
func (s *Spool) stopSaving() {
	if s.armed.Load() && s.timer.Stop() {
		s.work.Done()
	}
}

// save makes all cursors durable, and only then deletes what they have passed.
func (s *Spool) save() error {
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	s.mu.Lock()
	all := make([]*cursor, 0, len(s.cursors))
	for _, c := range s.cursors {
		all = append(all, c)
	}
	s.unlock()
	var errs []error
	for _, c := range all {
		switch {
		case c.file == nil:
			return ErrClosed
		case c.low.Load() == c.saved:
			continue
		}
		if err := s.saveCursor(c); err != nil {
			errs = append(errs, err)
		}
	}
	s.mu.Lock()
	defer s.unlock()
	s.collect()
	return errors.Join(errs...)
}

// collect deletes the segments that every reader has passed. saveMu and s.mu are
// held, but in Open.
func (s *Spool) collect() {
	if len(s.cursors) == 0 {
		return // nobody has read anything
	}
	low := s.next
	for _, c := range s.cursors {
		low = min(low, c.saved)
	}
	for len(s.segs) > 1 && s.segs[1].first <= low {
		s.remove(s.segs[0])
	}
	for len(s.floor) > 0 && s.floor[0].last < low {
		s.floor = s.floor[1:]
	}
}

// Forget deletes the cursor of a reader that is not open: it holds nothing back
// any more. The error matches fs.ErrNotExist if there is none.
func (s *Spool) Forget(name string) error {
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	s.mu.Lock()
	defer s.unlock()
	c := s.cursors[name]
	switch {
	case s.closed:
		return ErrClosed
	case c == nil:
		return fmt.Errorf("spool: reader %q: %w", name, fs.ErrNotExist)
	case c.reader != nil:
		return ErrReaderOpen
	}
	if err := s.fs.Remove(s.path(name + cursorSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spool: %w", err)
	}
	s.fs.SyncDir(s.dir) // if it comes back, it holds back again
	c.close()
	delete(s.cursors, name)
	s.collect()
	return nil
}

// markEnd notes where the spool ends, for Open to know whether it still does.
// That is of use and not needed.
func (s *Spool) markEnd() {
	c, err := s.openCursor(endMark)
	if err == nil {
		c.low.Store(s.next)
		err = c.save()
	} else {
		c, err = s.makeCursor(endMark, s.next)
	}
	if err != nil {
		s.o.Logger.Warn("spool: the end cannot be marked", "dir", s.dir, "err", err)
		return
	}
	c.close()
}
