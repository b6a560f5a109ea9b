// Package observe counts and logs calls: [Metrics] for Prometheus, [AccessLog] for a
// line a call at its end, and [Observe], the handler that feeds both. What a call costs
// here is a few atomic additions and the rendering of one line into memory.
package observe

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sluice-rpc/sluice/rpc"
)

// maxSeries bounds how many pairs of protocol and method are counted apart. Methods
// that no descriptor knows are "other" from the start, because a client chooses their
// names.
const maxSeries = 10000

// buckets are the bounds of both histograms, in seconds.
var buckets = [...]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800}

// Metrics are the counters of a gateway.
type Metrics struct {
	mu     sync.RWMutex
	series map[seriesKey]*series
	limits sync.Map // name to *atomic.Int64
	log    func() int64
	gauges []gauge
}

type seriesKey struct{ protocol, method string }

// series are the counters of one method in one protocol.
type series struct {
	codes         [rpc.Codes]atomic.Int64
	active        atomic.Int64
	duration      histogram
	firstMessage  histogram
	requests      atomic.Int64 // messages
	responses     atomic.Int64
	requestBytes  atomic.Int64
	responseBytes atomic.Int64
}

type histogram struct {
	counts [len(buckets) + 1]atomic.Int64
	nanos  atomic.Int64
}

func (h *histogram) observe(d time.Duration) {
	s := d.Seconds()
	i := 0
	for i < len(buckets) && s > buckets[i] {
		i++
	}
	h.counts[i].Add(1)
	h.nanos.Add(int64(d))
}

// NewMetrics returns counters at zero.
func NewMetrics() *Metrics { return &Metrics{series: map[seriesKey]*series{}} }

const other = "other"

// of returns the counters of a call.
func (m *Metrics) of(call *rpc.Call) *series {
	k := seriesKey{call.Protocol, other}
	if call.Schema != nil {
		k.method = call.Schema.Name
	}
	m.mu.RLock()
	s := m.series[k]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.series) >= maxSeries {
		k.method = other
	}
	if s = m.series[k]; s == nil {
		s = &series{}
		m.series[k] = s
	}
	return s
}

// LimitHit counts that a peer came to a limit, by the limit's name in the configuration.
func (m *Metrics) LimitHit(name string) {
	c, ok := m.limits.Load(name)
	if !ok {
		c, _ = m.limits.LoadOrStore(name, &atomic.Int64{})
	}
	c.(*atomic.Int64).Add(1)
}

type gauge struct {
	desc *prometheus.Desc
	read func() float64
}

// Gauge adds a value that is read at every scrape. It is to be called before Handler.
func (m *Metrics) Gauge(name, help string, read func() float64) {
	m.gauges = append(m.gauges, gauge{prometheus.NewDesc(name, help, nil, nil), read})
}

// Handler serves the metrics, and those of the Go runtime and the process.
func (m *Metrics) Handler() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

var (
	methodLabels = []string{"protocol", "method"}
	callsDesc    = prometheus.NewDesc("sluice_calls_total", "Calls that have ended, by gRPC status code.", []string{"protocol", "method", "code"}, nil)
	activeDesc   = prometheus.NewDesc("sluice_active_calls", "Calls that run.", methodLabels, nil)
	durationDesc = prometheus.NewDesc("sluice_call_duration_seconds", "From a call's head to its end.", methodLabels, nil)
	firstDesc    = prometheus.NewDesc("sluice_time_to_first_message_seconds", "From a call's head to its first response message.", methodLabels, nil)
	messagesDesc = prometheus.NewDesc("sluice_messages_total", "Messages of calls that have ended.", []string{"protocol", "method", "direction"}, nil)
	bytesDesc    = prometheus.NewDesc("sluice_message_bytes_total", "Message bytes with their prefixes, of calls that have ended.", []string{"protocol", "method", "direction"}, nil)
	limitsDesc   = prometheus.NewDesc("sluice_limits_hit_total", "How often a peer came to a limit.", []string{"limit"}, nil)
	droppedDesc  = prometheus.NewDesc("sluice_log_dropped_total", "Log lines that were dropped because the log was too slow.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{callsDesc, activeDesc, durationDesc, firstDesc, messagesDesc, bytesDesc, limitsDesc, droppedDesc} {
		ch <- d
	}
	for _, g := range m.gauges {
		ch <- g.desc
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	for k, s := range m.series {
		for code := range s.codes {
			if n := s.codes[code].Load(); n > 0 {
				counter(callsDesc, n, k.protocol, k.method, rpc.Code(code).String())
			}
		}
		ch <- prometheus.MustNewConstMetric(activeDesc, prometheus.GaugeValue, float64(s.active.Load()), k.protocol, k.method)
		s.duration.collect(ch, durationDesc, k)
		s.firstMessage.collect(ch, firstDesc, k)
		counter(messagesDesc, s.requests.Load(), k.protocol, k.method, "request")
		counter(messagesDesc, s.responses.Load(), k.protocol, k.method, "response")
		counter(bytesDesc, s.requestBytes.Load(), k.protocol, k.method, "request")
		counter(bytesDesc, s.responseBytes.Load(), k.protocol, k.method, "response")
	}
	m.limits.Range(func(name, n any) bool {
		counter(limitsDesc, n.(*atomic.Int64).Load(), name.(string))
		return true
	})
	if m.log != nil {
		counter(droppedDesc, m.log())
	}
	for _, g := range m.gauges {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.read())
	}
}

func (h *histogram) collect(ch chan<- prometheus.Metric, d *prometheus.Desc, k seriesKey) {
	counts := make(map[float64]uint64, len(buckets))
	total := uint64(0)
	for i := range h.counts {
		total += uint64(h.counts[i].Load())
		if i < len(buckets) {
			counts[buckets[i]] = total
		}
	}
	ch <- prometheus.MustNewConstHistogram(d, total, float64(h.nanos.Load())/1e9, counts, k.protocol, k.method)
}
