// Workqueue takes jobs, one line each, and does them one after the other. A
// client that is told a job's number can forget it: the job is on the disk, and
// is done although the program is killed, or the power fails. One that was being
// done then is begun again, so jobs must not mind being done twice.
//
//	go run ./examples/workqueue -takes 5s
//	printf 'wash\nbrush\ncomb\n' | nc -N 127.0.0.1 7000
//	# kill -9 it while it works, start it again
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hythe-go/hythe"
	"github.com/hythe-go/hythe/codec"
	"github.com/hythe-go/hythe/spool"
)

type conn = hythe.Conn[string, string]

// work does the jobs in the queue, and waits for more, until ctx ends.
func work(ctx context.Context, queue *spool.Spool, do func(ctx context.Context, job string) error) error {
	jobs, err := queue.Reader("worker", spool.ReaderOptions{})
	if err != nil {
		return err
	}
	defer jobs.Close()
	for {
		job, err := jobs.Next(ctx)
		if gap, ok := errors.AsType[*spool.GapError](err); ok {
			log.Print(gap) // the disk has lost some; on with the others
			continue
		}
		if err != nil {
			return err
		}
		if err := do(ctx, string(job.Payload)); err != nil {
			return err // not acknowledged: it is the first one next time
		}
		if err := jobs.Ack(job.ID); err != nil {
			return err
		}
	}
}

// newServer returns a server that puts every line it gets into the queue, and
// answers when it is on the disk.
func newServer(queue *spool.Spool) *hythe.Server {
	return &hythe.Server{Service: hythe.Handler(codec.Lines(), func(c *conn, line string) error {
		id, err := queue.Append([]byte(line))
		if err != nil {
			return c.Send(fmt.Sprintf("refused: %v", err))
		}
		return c.Send(fmt.Sprintf("queued %d", id))
	})}
}

func main() {
	endpoint := flag.String("listen", "tcp://127.0.0.1:7000", "where to listen")
	dir := flag.String("dir", filepath.Join(os.TempDir(), "workqueue"), "where the queue is")
	takes := flag.Duration("takes", time.Second, "how long a job takes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *endpoint, *dir, *takes); err != nil {
		log.Fatal(err)
	}
}

// run opens the queue, does what is in it, and takes more, until ctx ends.
func run(ctx context.Context, endpoint, dir string, takes time.Duration) error {
	queue, err := spool.Open(dir, spool.Options{})
	if err != nil {
		return err
	}
	srv := newServer(queue)
	srv.OnListen = func(a net.Addr) { log.Print("listening on ", a) }
	ctx, cancel := context.WithCancel(ctx)
	worked := make(chan error, 1)
	go func() { // ends with ctx
		defer cancel()
		worked <- work(ctx, queue, func(ctx context.Context, job string) error {
			select {
			case <-time.After(takes):
				fmt.Println("done:", job)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	err = srv.ListenAndServe(ctx, endpoint)
	cancel()
	if failed := <-worked; !errors.Is(failed, context.Canceled) {
		err = errors.Join(err, failed)
	}
	return errors.Join(err, queue.Close())
}
