package admin

import (
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hythe-go/hythe/cmd/hythe/internal/status"
)

func TestMetrics_AreWellNamedAndComplete(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(newCollector(newFake()))
	found, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	have := make(map[string]bool)
	for _, f := range all {
		have[f.GetName()] = true
	}
	for _, f := range families() {
		if !have[f.name] {
			t.Errorf("%s has no value", f.name)
		}
	}
}

func TestMetrics_SayWhatTheSnapshotSays(t *testing.T) {
	f := newFake().with(func(s *status.Snapshot) {
		s.Problems = append(s.Problems, status.Problem{Bad: true, Part: "x", What: "y"})
		s.Inputs, s.Routes = s.Inputs[1:], s.Routes[:1]
		r := &s.Routes[0]
		r.Spool.Trouble, r.Deliveries = "no space", r.Deliveries[1:]
		r.Deliveries[0].Backlog = 77
	})
	const want = `
# HELP hythe_input_connections_ended_total Connections that have ended, by the reason.
# TYPE hythe_input_connections_ended_total counter
hythe_input_connections_ended_total{input="web",reason="idle"} 900
# HELP hythe_input_messages_refused_total Messages not taken: the spool was full or in trouble, they were too large, or no route matched.
# TYPE hythe_input_messages_refused_total counter
hythe_input_messages_refused_total{input="web"} 17
# HELP hythe_output_backlog_messages Messages not settled.
# TYPE hythe_output_backlog_messages gauge
hythe_output_backlog_messages{output="hook",route="all"} 77
# HELP hythe_output_links Outbound connections by the phase that they are in.
# TYPE hythe_output_links gauge
hythe_output_links{output="hook",phase="closed",route="all"} 0
hythe_output_links{output="hook",phase="connecting",route="all"} 0
hythe_output_links{output="hook",phase="draining",route="all"} 0
hythe_output_links{output="hook",phase="failed",route="all"} 0
hythe_output_links{output="hook",phase="idle",route="all"} 0
hythe_output_links{output="hook",phase="up",route="all"} 0
hythe_output_links{output="hook",phase="waiting",route="all"} 1
# HELP hythe_problems What is wrong now, bad or minor. With anything bad the daemon is not ready.
# TYPE hythe_problems gauge
hythe_problems{severity="bad"} 1
hythe_problems{severity="minor"} 2
# HELP hythe_ready Whether the daemon can do its work, as /readyz says: 1 or 0.
# TYPE hythe_ready gauge
hythe_ready 0
# HELP hythe_spool_oldest_message_age_seconds Age of the oldest message that is not delivered everywhere; 0 if there is none.
# TYPE hythe_spool_oldest_message_age_seconds gauge
hythe_spool_oldest_message_age_seconds{route="all"} 83
# HELP hythe_spool_trouble Whether the last batch could not be written: 1 or 0.
# TYPE hythe_spool_trouble gauge
hythe_spool_trouble{route="all"} 1
`
	names := regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(want, -1)
	var list []string
	for _, m := range names {
		list = append(list, m[1])
	}
	if err := testutil.CollectAndCompare(newCollector(f), strings.NewReader(want), list...); err != nil {
		t.Error(err)
	}
}

func TestMetrics_AreServedWithThoseOfTheProcess(t *testing.T) {
	f := newFake().with(func(s *status.Snapshot) { s.Inputs[0].Name = "not \xff UTF-8\n\"" })
	w := get(Handler(f, Options{Loopback: true}), "/metrics")
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for _, want := range []string{"hythe_build_info{version=\"v0.7.0\"} 1", "go_goroutines ", "hythe_input_connections{input=\"not \ufffd UTF-8\\n\\\"\"} 64"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s", want)
		}
	}
}
