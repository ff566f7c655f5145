package input

import (
	"os"
	"slices"
	"testing"

	"github.com/hythe-go/hythe/cmd/hythe/internal/config"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay"
	"github.com/hythe-go/hythe/cmd/hythe/internal/relay/relaytest"
	"github.com/hythe-go/hythe/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// conf returns a configuration as the defaults have it.
func conf(change func(*config.Input)) *config.Input {
	c := &config.Input{
		Name: "in", Framing: "lines", Ack: "none", Window: 1024, MaxMessage: 1 << 20, MaxBody: 16 << 20,
		Path: "/in", KeyHeader: "Hythe-Key", Repeats: 16384,
	}
	if change != nil {
		change(c)
	}
	return c
}

func bodiesOf(msgs []relay.Message) (list []string) {
	for _, m := range msgs {
		list = append(list, string(m.Body))
	}
	return list
}

func wantTaken(t *testing.T, f *relaytest.IntakeFixture, want ...string) {
	t.Helper()
	if got := bodiesOf(f.Messages()); !slices.Equal(got, want) {
		t.Errorf("taken: %q, want %q", got, want)
	}
}

// onlyPrefix returns an intake with one route, for messages with a prefix.
func onlyPrefix(t testing.TB, prefix string) *relay.Intake {
	t.Helper()
	r, err := relay.OpenRoute("some", relay.RouteOptions{Dir: t.TempDir(), DeadDir: t.TempDir(), Match: relay.Match{Prefix: []byte(prefix)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	in := relay.NewIntake("in", relay.NewIDs())
	in.SetRoutes([]*relay.Route{r})
	return in
}
