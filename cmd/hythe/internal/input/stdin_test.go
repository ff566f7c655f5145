package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
	"github.com/hythe-go/hythe/codec"
)

func TestReadAll_TakesEverything(t *testing.T) {
	envelope := framed32(string((&relay.Message{ID: []byte("i"), Body: []byte("one")}).Append(nil)))
	for _, test := range []struct {
		framing, in string
		want        []string
	}{
		{"lines", "one\n\ntwo\r\nthree", []string{"one", "two", "three"}},
		{"netstring", "3:one,0:,", []string{"one", ""}},
		{"raw", "one\ntwo\n", []string{"one\ntwo\n"}},
		{"hythe", envelope, []string{"one"}},
	} {
		for _, read := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.DataErrReader, func(r io.Reader) io.Reader { return r }} {
			f := relaytest.NewIntake(t)
			c := conf(func(c *config.Input) { c.Framing, c.Window = test.framing, 2 })
			if err := ReadAll(t.Context(), c, f.Intake, read(strings.NewReader(test.in))); err != nil {
				t.Errorf("%s: %v", test.framing, err)
			}
			wantTaken(t, f, test.want...)
			if m := f.Messages()[0]; test.framing == "hythe" && string(m.ID) != "i" {
				t.Errorf("the envelope's id has become %q", m.ID)
			}
		}
	}
}

func TestReadAll_MessagesLargerThanTheBuffer(t *testing.T) {
	f := relaytest.NewIntake(t)
	long := strings.Repeat("x", 300_000)
	if err := ReadAll(t.Context(), conf(nil), f.Intake, strings.NewReader("a\n"+long+"\nb\n")); err != nil {
		t.Fatal(err)
	}
	wantTaken(t, f, "a", long, "b")
}

func TestReadAll_WhatCameBeforeAnErrorIsTaken(t *testing.T) {
	f := relaytest.NewIntake(t)
	c := conf(func(c *config.Input) { c.MaxMessage = 10 })
	if err := ReadAll(t.Context(), c, f.Intake, strings.NewReader("one\n"+strings.Repeat("x", 20)+"\ntwo\n")); !errors.Is(err, codec.ErrFrameTooLarge) {
		t.Errorf("got %v", err)
	}
	wantTaken(t, f, "one")

	f = relaytest.NewIntake(t)
	broken := errors.New("broken")
	if err := ReadAll(t.Context(), conf(nil), f.Intake, io.MultiReader(strings.NewReader("one\ntw"), iotest.ErrReader(broken))); err != broken {
		t.Errorf("got %v", err)
	}
	wantTaken(t, f, "one")

	in := onlyPrefix(t, "yes")
	if err := ReadAll(t.Context(), conf(nil), in, strings.NewReader("yes\nno\nyes\n")); !errors.Is(err, relay.ErrNoRoute) {
		t.Errorf("got %v", err)
	}
	if n, _, _, _ := in.Counts(); n != 1 {
		t.Errorf("%d were taken, want 1", n)
	}
}

func TestReadAll_WaitsForRoomUntilItsContextEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, f *relaytest.IntakeFixture) {
		f.Fail(syscall.ENOSPC)
		done := make(chan error)
		go func() { done <- ReadAll(t.Context(), conf(nil), f.Intake, strings.NewReader("one\ntwo\n")) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("returned with the disk full: %v", err)
		default:
		}
		f.Fail(nil)
		if err := <-done; err != nil {
			t.Error(err)
		}
		wantTaken(t, f, "one", "two")

		f.Fail(syscall.ENOSPC)
		stopped := errors.New("stopped")
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { done <- ReadAll(ctx, conf(nil), f.Intake, strings.NewReader("three\n")) }()
		time.Sleep(time.Minute)
		cancel(stopped)
		if err := <-done; !errors.Is(err, stopped) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("got %v", err)
		}
	})
}

func BenchmarkReadAll_Lines(b *testing.B) {
	f := relaytest.NewWith(b, 1, func(int) (relay.Output, error) { return nowhere{}, nil })
	const lines = 20_000
	text := strings.Repeat(strings.Repeat("x", 63)+"\n", lines)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := ReadAll(b.Context(), conf(nil), f.Intake, strings.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*lines/b.Elapsed().Seconds(), "lines/s")
	if err := f.WaitSettled(b.Context()); err != nil {
		b.Fatal(err)
	}
	if n := fmt.Sprint(f.Delivered()); n == "0" {
		b.Error("nothing was delivered")
	}
}
