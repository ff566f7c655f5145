// Linkwrap puts a link around somebody else's client library, one that knows
// nothing about reconnecting: file ledger.go stands for it. The link dials with
// it, logs in before anybody gets the client, looks whether the server may still
// be written to, and makes a new client when the old one is of no more use.
//
//	go run ./examples/linkwrap
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/hythe-go/hythe/link"
)

// newLink has everything that is special about the library, in one place.
func newLink(endpoints ...string) *link.Link[*Ledger] {
	return &link.Link[*Ledger]{
		Name:      "ledger",
		Endpoints: endpoints,

		Dial: func(ctx context.Context, a link.Attempt) (*Ledger, error) {
			l, err := OpenLedger(ctx, a.Endpoint)
			if err != nil {
				return nil, err
			}
			l.OnLost(a.Report) // the library has a callback: a.Report fits most of them
			return l, nil
		},

		// The first thing on every new connection. Trying again does not make a
		// wrong password right, so the link is told.
		OnUp: func(ctx context.Context, l *Ledger) error {
			err := l.Login(ctx, "clerk", os.Getenv("LEDGER_PASSWORD"))
			if errors.Is(err, ErrPassword) {
				return link.Permanent(err)
			}
			return err
		},

		// A server that answers is not enough: after a failover the old one
		// answers as well, and refuses to write.
		Check: func(ctx context.Context, l *Ledger) error {
			role, err := l.Role(ctx)
			if err == nil && role != "primary" {
				err = fmt.Errorf("the server is a %s now", role)
			}
			return err
		},
		CheckEvery: 10 * time.Second,
	}
}

// book writes to the ledger. It waits while the ledger is away, as long as ctx
// allows; the error then says why it was away.
func book(ctx context.Context, l *link.Link[*Ledger], entry string) (number int, err error) {
	ledger, err := l.Get(ctx)
	if err != nil {
		return 0, err
	}
	return ledger.Book(ctx, entry)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	server := &LedgerServer{Password: os.Getenv("LEDGER_PASSWORD")}
	addr, err := server.Start("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Stop()

	l := newLink(addr)
	l.Logger = slog.Default()
	defer l.Close()
	for i := range 6 {
		if i == 3 {
			server.Stop()
			time.AfterFunc(3*time.Second, func() { server.Start(addr) })
		}
		within, cancel := context.WithTimeout(ctx, 10*time.Second)
		number, err := book(within, l, fmt.Sprint("entry ", i))
		cancel()
		fmt.Printf("entry %d: number %d, %v\n", i, number, err)
		if ctx.Err() != nil {
			return
		}
	}
}
