package spool_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/hythe-go/hythe/spool"
)

func tempDir() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

func Example() {
	dir, remove := tempDir()
	defer remove()
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	first, err := s.Append([]byte("hello"), []byte("world"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("durable from", first)

	r, err := s.Reader("worker", spool.ReaderOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		rec, err := r.Next(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %s\n", rec.ID, rec.Payload)
		r.Ack(rec.ID)
	}
	// Output:
	// durable from 1
	// 1 hello
	// 2 world
}

// A producer that must not wait hands over what it has, and is told.
func ExampleSpool_Submit() {
	dir, remove := tempDir()
	defer remove()
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		log.Fatal(err)
	}
	err = s.Submit([][]byte{[]byte("a"), []byte("b")}, func(first uint64, err error) {
		fmt.Println("durable from", first, err)
	})
	if errors.Is(err, spool.ErrBusy) || errors.Is(err, spool.ErrFull) {
		fmt.Println("tell the sender to wait")
	}
	s.Close() // waits for what was submitted
	// Output:
	// durable from 1 <nil>
}

// What cannot be delivered now is delivered again before what is new.
func ExampleReader_Requeue() {
	dir, remove := tempDir()
	defer remove()
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	s.Append([]byte("a"), []byte("b"), []byte("c"))

	r, err := s.Reader("upstream", spool.ReaderOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for refused := false; ; {
		rec, err := r.Next(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		if string(rec.Payload) == "b" && !refused {
			refused = true
			r.Requeue(rec.ID)
			continue
		}
		fmt.Printf("%s again=%v\n", rec.Payload, rec.Again)
		if r.Ack(rec.ID); rec.ID == 3 {
			break
		}
	}
	// Output:
	// a again=false
	// b again=true
	// c again=false
}

// Whatever has happened to the files, reading goes on behind it.
func ExampleGapError() {
	dir, remove := tempDir()
	defer remove()
	o := spool.Options{SegmentBytes: 1} // every batch has a file of its own
	s, err := spool.Open(dir, o)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for _, text := range []string{"a", "b", "c"} {
		s.Append([]byte(text))
	}
	list, err := spool.List(dir, o)
	if err != nil {
		log.Fatal(err)
	}
	os.Truncate(dir+"/"+list.Segments[1].Name, 100)

	r, err := s.Reader("worker", spool.ReaderOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		rec, err := r.Next(context.Background())
		if gap, ok := errors.AsType[*spool.GapError](err); ok {
			fmt.Println("lost:", gap.First, "to", gap.Last, gap.Reason)
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", rec.Payload)
	}
	// Output:
	// a
	// lost: 2 to 2 damaged
	// c
}

// What is wrong with a directory can be seen without opening it, also while it
// is in use.
func ExampleVerify() {
	dir, remove := tempDir()
	defer remove()
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	s.Append([]byte("a"), []byte("b"))

	report, err := spool.Verify(dir, spool.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Records, "records, whole:", report.Whole())
	for rec, err := range spool.Export(dir, spool.Options{}, 2, 0) {
		fmt.Printf("%d %s %v\n", rec.ID, rec.Payload, err)
	}
	// Output:
	// 2 records, whole: true
	// 2 b <nil>
}
