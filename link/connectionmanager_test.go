package link

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Message::Passing::Role::ConnectionManager, which showed the way, had defects.
// Here are those that were reproduced, each with its test.

// It told subscribers that they had been disconnected who had never been
// connected.
func TestConnectionManager_FailedFirstAttemptIsNoDisconnection(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		p.set("*", errDown)
		var d diary
		l.Subscribe(&d)
		time.Sleep(time.Minute)
		d.want(t)
		p.set("*", nil)
		time.Sleep(time.Minute)
		d.want(t, "connected 0")
	})
}

// A connection that was made at once was killed when the attempt's time had
// passed.
func TestConnectionManager_AttemptTimerDoesNotKillTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		l.Timeout = time.Second
		c := mustGet(t, l)
		time.Sleep(time.Hour)
		if now := mustGet(t, l); now != c || p.count() != 1 {
			t.Errorf("after an hour there is another connection, after %d dials", p.count())
		}
	})
}

// Telling of a loss read a lazy attribute that made a new connection, and so on
// without end.
func TestConnectionManager_TellingOfALossMakesNoConnection(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		told := 0
		l.Subscribe(&Funcs[*fake]{OnDisconnected: func(error) {
			told++
			l.State()
			l.Conn()
			l.Report(p.last(), errors.New("again")) // about the old one
		}})
		c := mustGet(t, l)
		synctest.Wait()
		l.Report(c, errDown)
		synctest.Wait()
		if n := p.count(); n != 1 {
			t.Errorf("%d dials right after the loss, want the 1 before it", n)
		}
		mustGet(t, l)
		synctest.Wait()
		if told != 1 || p.count() != 2 {
			t.Errorf("told %d times, %d dials; want 1 and 2", told, p.count())
		}
	})
}

// A subscriber that died took the delivery to all later ones with it, and left
// the state half changed.
func TestConnectionManager_PanickingSubscriberStopsNobody(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		panics := 0
		l.Observer = func(ev Event) {
			if ev.Panic != nil {
				panics++
			}
		}
		var before, after diary
		l.Subscribe(&before)
		l.Subscribe(&Funcs[*fake]{
			OnConnected:    func(*fake) { panic("connected") },
			OnDisconnected: func(error) { panic("disconnected") },
		})
		l.Subscribe(&after)
		c := mustGet(t, l)
		synctest.Wait() // or they may not hear of it at all
		l.Report(c, errDown)
		synctest.Wait()
		mustGet(t, l)
		want := []string{"connected 0", "disconnected: peer is down", "connected 1"}
		before.want(t, want...)
		after.want(t, want...)
		wantPhase(t, l, Up)
		if panics != 3 {
			t.Errorf("%d panics were observed, want 3", panics)
		}
	})
}

// Whoever subscribed twice was told twice.
func TestConnectionManager_SubscribedTwiceIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		var d diary
		cancel1 := l.Subscribe(&d)
		cancel2 := l.Subscribe(&d)
		c := mustGet(t, l)
		d.want(t, "connected 0")
		cancel1()
		cancel1()
		l.Report(c, errDown)
		d.want(t, "connected 0", "disconnected: peer is down")
		cancel2()
		mustGet(t, l)
		d.want(t, "connected 0", "disconnected: peer is down")
	})
}

// A loss that was reported twice was told twice.
func TestConnectionManager_ReportedTwiceIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		var d diary
		l.Subscribe(&d)
		c := mustGet(t, l)
		d.want(t, "connected 0")
		if got := []bool{l.Report(c, errDown), l.Report(c, errDown)}; !slices.Equal(got, []bool{true, false}) {
			t.Errorf("Report = %v, want true, then false", got)
		}
		d.want(t, "connected 0", "disconnected: peer is down")
		next := mustGet(t, l)
		l.Report(c, errDown)
		synctest.Wait()
		if now, ok := l.Conn(); !ok || now != next {
			t.Error("a report about the old connection ended the new one")
		}
	})
}

// A connection that failed while it was built again was the last one ever.
func TestConnectionManager_PanickingDialIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		l.Dial = dialsThat(p, func() { panic("no") })
		mustGet(t, l)
	})
}

// The pauses are ConnectionManager's if that is wanted: 30 s for an attempt, 2 s between
// them.
func TestConnectionManager_FixedPause(t *testing.T) {
	bubble(t, func(t *testing.T, l *Link[*fake], p *peer) {
		l.Backoff.Fixed = true
		p.set("*", errDown)
		l.Start()
		time.Sleep(7 * time.Second)
		synctest.Wait()
		if got, want := p.takeDials(), []string{"0s", "2s", "4s", "6s"}; !slices.Equal(got, want) {
			t.Errorf("dials at %q, want %q", got, want)
		}
	})
}
