package link

import (
	"slices"
	"time"
)

// Order is the order in which endpoints are tried.
type Order uint8

const (
	InOrder     Order = iota // the first one is preferred
	RandomOrder              // a new order for each round
)

// An endpoint is one of Link.Endpoints. Only the owner uses it.
type endpoint struct {
	name  string
	rank  int       // 0 is preferred
	fails int       // failures in a row; 0: it is well, as far as is known
	last  time.Time // the last of them
}

type endpoints []*endpoint

func newEndpoints(names []string) endpoints {
	if len(names) == 0 {
		names = []string{""}
	}
	all := make(endpoints, len(names))
	for i, name := range names {
		all[i] = &endpoint{name: name, rank: i}
	}
	return all
}

// failed records that an attempt failed, or a connection broke.
func (e *endpoint) failed() {
	e.fails++
	e.last = time.Now()
}

// bad reports whether the endpoint has failed so lately that others go first.
func (e *endpoint) bad(failback time.Duration) bool {
	return e.fails > 0 && time.Since(e.last) < failback<<min(e.fails-1, 5)
}

// round returns the endpoints in the order in which they are to be tried: all of
// them, the bad ones last.
func (all endpoints) round(o Order, failback time.Duration, random func(n int64) int64) endpoints {
	round := slices.Clone(all)
	if o == RandomOrder {
		for i := len(round) - 1; i > 0; i-- {
			j := int(random(int64(i + 1)))
			round[i], round[j] = round[j], round[i]
		}
	}
	slices.SortStableFunc(round, func(a, b *endpoint) int {
		switch a, b := a.bad(failback), b.bad(failback); {
		case a == b:
			return 0
		case a:
			return 1
		default:
			return -1
		}
	})
	return round
}

// better returns the endpoint to go back to from e; nil when there is none.
func (all endpoints) better(e *endpoint, failback time.Duration) *endpoint {
	for _, b := range all[:e.rank] {
		if !b.bad(failback) {
			return b
		}
	}
	return nil
}
