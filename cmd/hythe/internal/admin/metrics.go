package admin

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hythe-go/hythe/link"
)

// metrics returns the handler of /metrics.
func metrics(src Source) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(newCollector(src), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// A collector makes metrics of a snapshot. Nothing is counted twice: the numbers
// are those of the status page.
type collector struct {
	src   Source
	descs map[string]*prometheus.Desc
}

// family is what there is to say of a metric but its value.
type family struct {
	name, help string
	labels     []string
}

// families are all metrics, as Describe and the operators' guide have them.
func families() []family {
	input, route, output := []string{"input"}, []string{"route"}, []string{"route", "output"}
	return []family{
		{"hythe_build_info", "Always 1; the label has the version.", []string{"version"}},
		{"hythe_ready", "Whether the daemon can do its work, as /readyz says: 1 or 0.", nil},
		{"hythe_draining", "Whether the daemon is about to end: 1 or 0.", nil},
		{"hythe_problems", "What is wrong now, bad or minor. With anything bad the daemon is not ready.", []string{"severity"}},

		{"hythe_input_connections", "Open connections.", input},
		{"hythe_input_connections_opened_total", "Connections that were opened.", input},
		{"hythe_input_connections_ended_total", "Connections that have ended, by the reason.", []string{"input", "reason"}},
		{"hythe_input_messages_total", "Messages taken, durable on every route that they match.", input},
		{"hythe_input_bytes_total", "Bytes of the bodies of the messages taken.", input},
		{"hythe_input_messages_refused_total", "Messages not taken: the spool was full or in trouble, they were too large, or no route matched.", input},
		{"hythe_input_messages_repeated_total", "Messages known by their Idempotency-Key, answered and not taken again.", input},

		{"hythe_route_messages_total", "Messages put into the route's spool.", route},
		{"hythe_spool_records", "Records that the reader furthest behind has not settled.", route},
		{"hythe_spool_bytes", "Bytes of the spool's segments.", route},
		{"hythe_spool_max_bytes", "Bytes at which the spool is full; left out if only the disk limits it.", route},
		{"hythe_spool_oldest_message_age_seconds", "Age of the oldest message that is not delivered everywhere; 0 if there is none.", route},
		{"hythe_spool_trouble", "Whether the last batch could not be written: 1 or 0.", route},
		{"hythe_spool_commits_total", "Syncs that made messages durable.", route},
		{"hythe_spool_failures_total", "Batches that could not be made durable.", route},
		{"hythe_spool_refused_total", "Batches refused because the spool was full.", route},

		{"hythe_output_messages_delivered_total", "Messages confirmed by the output.", output},
		{"hythe_output_messages_dead_total", "Messages put into the dead-letter spool.", output},
		{"hythe_output_messages_lost_total", "Messages damaged on disk, dropped or expired.", output},
		{"hythe_output_messages_skipped_total", "Messages requeued for another output only.", output},
		{"hythe_output_messages_again_total", "Messages handed out more than once: possible duplicates.", output},
		{"hythe_output_start_backlog_messages", "Messages not settled when the daemon started.", output},
		{"hythe_output_backlog_messages", "Messages not settled.", output},
		{"hythe_output_outstanding_messages", "Messages handed to the output and not confirmed.", output},
		{"hythe_output_dead_letters", "Messages in the dead-letter spool.", output},
		{"hythe_output_links", "Outbound connections by the phase that they are in.", []string{"route", "output", "phase"}},
	}
}

func newCollector(src Source) *collector {
	c := &collector{src: src, descs: make(map[string]*prometheus.Desc)}
	for _, f := range families() {
		c.descs[f.name] = prometheus.NewDesc(f.name, f.help, f.labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.src.Snapshot()
	put := func(name string, v float64, labels ...string) {
		kind := prometheus.GaugeValue
		if strings.HasSuffix(name, "_total") {
			kind = prometheus.CounterValue
		}
		for i, l := range labels {
			labels[i] = strings.ToValidUTF8(l, "�")
		}
		m, err := prometheus.NewConstMetric(c.descs[name], kind, v, labels...)
		if err != nil {
			m = prometheus.NewInvalidMetric(c.descs[name], err)
		}
		ch <- m
	}
	put("hythe_build_info", 1, s.Version)
	put("hythe_ready", truth(len(unready(&s)) == 0))
	put("hythe_draining", truth(s.Draining))
	bad := 0
	for _, p := range s.Problems {
		if p.Bad {
			bad++
		}
	}
	put("hythe_problems", float64(bad), "bad")
	put("hythe_problems", float64(len(s.Problems)-bad), "minor")
	for _, in := range s.Inputs {
		put("hythe_input_connections", float64(in.Conns), in.Name)
		put("hythe_input_connections_opened_total", float64(in.Opened), in.Name)
		for reason, n := range in.Reasons {
			put("hythe_input_connections_ended_total", float64(n), in.Name, reason)
		}
		put("hythe_input_messages_total", float64(in.Messages), in.Name)
		put("hythe_input_bytes_total", float64(in.Bytes), in.Name)
		put("hythe_input_messages_refused_total", float64(in.Refused), in.Name)
		put("hythe_input_messages_repeated_total", float64(in.Repeated), in.Name)
	}
	for _, r := range s.Routes {
		put("hythe_route_messages_total", float64(r.In), r.Name)
		put("hythe_spool_records", float64(r.Spool.Records), r.Name)
		put("hythe_spool_bytes", float64(r.Spool.Bytes), r.Name)
		if r.Spool.MaxBytes > 0 {
			put("hythe_spool_max_bytes", float64(r.Spool.MaxBytes), r.Name)
		}
		put("hythe_spool_oldest_message_age_seconds", r.Spool.Oldest.Seconds(), r.Name)
		put("hythe_spool_trouble", truth(r.Spool.Trouble != ""), r.Name)
		put("hythe_spool_commits_total", float64(r.Spool.Commits), r.Name)
		put("hythe_spool_failures_total", float64(r.Spool.Failures), r.Name)
		put("hythe_spool_refused_total", float64(r.Spool.Refused), r.Name)
		for _, d := range r.Deliveries {
			put("hythe_output_messages_delivered_total", float64(d.Delivered), r.Name, d.Output)
			put("hythe_output_messages_dead_total", float64(d.Dead), r.Name, d.Output)
			put("hythe_output_messages_lost_total", float64(d.Lost), r.Name, d.Output)
			put("hythe_output_messages_skipped_total", float64(d.Skipped), r.Name, d.Output)
			put("hythe_output_messages_again_total", float64(d.Again), r.Name, d.Output)
			put("hythe_output_start_backlog_messages", float64(d.Start), r.Name, d.Output)
			put("hythe_output_backlog_messages", float64(d.Backlog), r.Name, d.Output)
			put("hythe_output_dead_letters", float64(d.DeadLetters), r.Name, d.Output)
			outstanding, links := 0, make(map[string]int)
			for p := link.Idle; p <= link.Closed; p++ {
				links[p.String()] = 0 // so that an alarm has a series to look at
			}
			for _, l := range d.Lanes {
				outstanding += l.Outstanding
				if l.Link != nil {
					links[l.Link.Phase]++
				}
			}
			put("hythe_output_outstanding_messages", float64(outstanding), r.Name, d.Output)
			for phase, n := range links {
				put("hythe_output_links", float64(n), r.Name, d.Output, phase)
			}
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
