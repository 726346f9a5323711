// What an event costs, with the client in this process and a daemon of its own: events a second and
// CPU at saturation, and latency at 1,000 events a second. Wall time means something only on a
// machine that does nothing else; CPU time means more. The other clients' benches publish the same
// events.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dispatchd/dispatchd/clients/go"
)

const (
	keysCount    = 10_000
	unackedMax   = 4096
	pacedRate    = 1000 // events a second
	pacedSeconds = 5
	// clockTicks are the units of /proc/PID/stat: USER_HZ, which is 100 wherever Go runs on Linux.
	clockTicks = 100
)

// order is 200 B as JSON, in many small members; note is 200 B in one.
type order struct {
	Order    int     `json:"order"`
	Customer string  `json:"customer"`
	Total    float64 `json:"total"`
	Currency string  `json:"currency"`
	Items    int     `json:"items"`
	Paid     bool    `json:"paid"`
	Channel  string  `json:"channel"`
	Region   string  `json:"region"`
	Coupon   *string `json:"coupon"`
	Weight   int     `json:"weight"`
	Carrier  string  `json:"carrier"`
	Note     string  `json:"note"`
}

type note struct {
	Text string `json:"text"`
}

var (
	members = order{
		Order: 1234567, Customer: "customer-9", Total: 12.5, Currency: "EUR", Items: 3, Paid: true,
		Channel: "web", Region: "eu-central-1", Weight: 1200, Carrier: "post", Note: "at the door!",
	}
	text = note{Text: strings.Repeat("x", 189)}
)

// load is what is published.
type load struct {
	events int
	keys   []string
	data   any
}

func (l *load) event(i int) dispatchd.Event {
	return dispatchd.Event{Type: "order.placed", Data: l.data, PartitionKey: l.keys[i%len(l.keys)]}
}

func main() {
	events := flag.Int("events", 300_000, "how many events are published at saturation")
	warmUp := flag.Int("warm-up", 100_000, "how many events are published before that")
	form := flag.String("data", "members", "what the 200 B of data are: many small members, one text, or json that was made before; "+
		"lines are no events of the client's but what the socket alone costs")
	pid := flag.Int("daemon", 0, "the daemon's process, to tell its CPU time too")
	saturateOnly := flag.Bool("saturate-only", false, "leave out the latency at 1,000 events a second")
	profile := flag.String("cpuprofile", "", "write a profile of the saturation to this file")
	flag.Parse()
	if err := run(*warmUp, *events, *pid, *form, *saturateOnly, *profile); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(warmUp, events, pid int, form string, saturateOnly bool, profile string) error {
	keys := make([]string, keysCount)
	for i := range keys {
		keys[i] = "customer-" + strconv.Itoa(i)
	}
	encoded, err := json.Marshal(members)
	if err != nil {
		return err
	}
	data, known := map[string]any{"members": members, "text": text, "json": json.RawMessage(encoded), "lines": json.RawMessage(encoded)}[form]
	if !known {
		return fmt.Errorf("there is no data of the form %q", form)
	}
	saturated := saturate
	if form == "lines" {
		saturated, saturateOnly = saturateWithLines, true
	}
	if err := saturated(load{warmUp, keys, data}, pid, ""); err != nil {
		return err
	}
	if err := saturated(load{events, keys, data}, pid, profile); err != nil || saturateOnly {
		return err
	}
	return pace(load{pacedRate * pacedSeconds, keys, data})
}

// saturate publishes as fast as the daemon acks.
func saturate(of load, pid int, profile string) error {
	client, err := dispatchd.New(dispatchd.Options{MaxBufferedEvents: unackedMax})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	defer client.Close(ctx)
	if _, err := client.Publish(ctx, of.event(0)); err != nil {
		return err
	}
	if profile != "" {
		file, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	measured := measure(of.events, pid)
	for i := 0; i < of.events; i++ {
		if _, err := client.Start(ctx, of.event(i)); err != nil {
			return err
		}
	}
	client.Flush(ctx)
	line := measured()
	runtime.ReadMemStats(&after)
	if n := client.Counters(); n.Acked != uint64(of.events)+1 {
		return fmt.Errorf("not all are acked: %+v", n)
	}
	fmt.Printf("%s, %d B in %.1f objects allocated an event\n", line,
		(after.TotalAlloc-before.TotalAlloc)/uint64(of.events), float64(after.Mallocs-before.Mallocs)/float64(of.events))
	return nil
}

// measure begins to measure, and returns what tells what was measured until it is called.
func measure(events, pid int) func() string {
	began, client, daemon := time.Now(), ownCPU(), cpuOf(pid)
	return func() string {
		took, client, daemon := time.Since(began), ownCPU()-client, cpuOf(pid)-daemon
		perEvent := func(cpu time.Duration) float64 { return float64(cpu.Nanoseconds()) / 1e3 / float64(events) }
		line := fmt.Sprintf("saturated: %d events, %.0f events/s, client %.2f µs CPU/event", events, float64(events)/took.Seconds(), perEvent(client))
		if pid != 0 {
			line += fmt.Sprintf(", daemon %.2f µs CPU/event", perEvent(daemon))
		}
		return line
	}
}

// pace publishes events at their times, whether the earlier ones are acked or not.
func pace(of load) error {
	durations := make(chan time.Duration, of.events)
	client, err := dispatchd.New(dispatchd.Options{OnSettled: func(s dispatchd.Settled) {
		if s.OK {
			durations <- s.Duration
		}
	}})
	if err != nil {
		return err
	}
	ctx := context.Background()
	began, before := time.Now(), ownCPU()
	for i := 0; i < of.events; i++ {
		time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / pacedRate)))
		if _, err := client.Start(ctx, of.event(i)); err != nil {
			return err
		}
	}
	if n := client.Close(ctx); n != 0 {
		return fmt.Errorf("%d are unconfirmed", n)
	}
	cpu := ownCPU() - before
	close(durations)
	var sorted []time.Duration
	for d := range durations {
		sorted = append(sorted, d)
	}
	if len(sorted) != of.events {
		return fmt.Errorf("%d of %d are acked", len(sorted), of.events)
	}
	sort.Slice(sorted, func(i, j int) bool { return sorted[i] < sorted[j] })
	at := func(percent int) float64 { return float64(sorted[len(sorted)*percent/100].Microseconds()) / 1e3 }
	fmt.Printf("at %d events/s: p50 %.2f ms, p99 %.2f ms, client %.1f µs CPU/event\n",
		pacedRate, at(50), at(99), float64(cpu.Microseconds())/float64(of.events))
	return nil
}

// ownCPU is the CPU time of this process.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// cpuOf is the CPU time of another process, or 0 if there is none.
func cpuOf(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in brackets, may hold spaces. utime and stime are fields 14 and 15.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * time.Second / clockTicks
}
