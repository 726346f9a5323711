// The driver of the Go client, as clients/conformance/README.md has it: commands come in, a line
// each, and outcomes go out. It decides nothing by itself.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/dispatchd/dispatchd/clients/go"
)

type command struct {
	Do        string  `json:"do"`
	As        string  `json:"as"`
	Tx        string  `json:"tx"`
	Event     event   `json:"event"`
	Events    []event `json:"events"`
	TimeoutMs int     `json:"timeoutMs"`

	MaxBufferedEvents int    `json:"maxBufferedEvents"`
	MaxBufferedBytes  int    `json:"maxBufferedBytes"`
	StrictOrder       bool   `json:"strictOrder"`
	Disabled          bool   `json:"disabled"`
	ProducerID        string `json:"producerId"`
	SourceUserID      string `json:"sourceUserId"`
	CorrelationID     string `json:"correlationId"`
	OrganisationID    string `json:"organisationId"`
	Envelope          string `json:"envelope"`
}

type event struct {
	Type            string          `json:"type"`
	Data            json.RawMessage `json:"data"`
	PartitionKey    string          `json:"partitionKey"`
	ExplicitHashKey string          `json:"explicitHashKey"`
	SourceUserID    string          `json:"sourceUserId"`
	ID              string          `json:"id"`
	Envelope        string          `json:"envelope"`
	Traceparent     string          `json:"traceparent"`
	Tracestate      string          `json:"tracestate"`
}

func (e event) event() dispatchd.Event {
	return dispatchd.Event{
		Type: e.Type, Data: e.Data, PartitionKey: e.PartitionKey, ExplicitHashKey: e.ExplicitHashKey,
		SourceUserID: e.SourceUserID, ID: e.ID, Envelope: e.Envelope,
		Traceparent: e.Traceparent, Tracestate: e.Tracestate,
	}
}

// outcome is what is printed. What it has none of is left out.
type outcome struct {
	As             string             `json:"as,omitempty"`
	OK             *bool              `json:"ok,omitempty"`
	ID             string             `json:"id,omitempty"`
	Timestamp      string             `json:"timestamp,omitempty"`
	PartitionKey   string             `json:"partitionKey,omitempty"`
	ProducerID     string             `json:"producerId,omitempty"`
	ShardID        string             `json:"shardId,omitempty"`
	SequenceNumber string             `json:"sequenceNumber,omitempty"`
	Deduplicated   bool               `json:"deduplicated,omitempty"`
	Code           string             `json:"code,omitempty"`
	Message        string             `json:"message,omitempty"`
	Retryable      *bool              `json:"retryable,omitempty"`
	Outcome        *dispatchd.Outcome `json:"outcome,omitempty"`
	Results        []outcome          `json:"results,omitempty"`
	Unconfirmed    *int               `json:"unconfirmed,omitempty"`
	Counters       *counters          `json:"counters,omitempty"`
}

type counters struct {
	Sent          uint64            `json:"sent"`
	Acked         uint64            `json:"acked"`
	Refused       map[string]uint64 `json:"refused"`
	RolledBack    uint64            `json:"rolledBack"`
	Buffered      int               `json:"buffered"`
	BufferedBytes int               `json:"bufferedBytes"`
	Resent        uint64            `json:"resent"`
	Reconnects    uint64            `json:"reconnects"`
}

// driver is the client and what was begun with it.
type driver struct {
	client *dispatchd.Client
	txs    map[string]*dispatchd.Tx
	calls  sync.WaitGroup
	mu     sync.Mutex
	out    *json.Encoder
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	d := &driver{txs: map[string]*dispatchd.Tx{}, out: json.NewEncoder(out)}
	d.out.SetEscapeHTML(false)
	if _, err := fmt.Fprintln(out, `{"driver":"go","version":"0.1.0","can":[]}`); err != nil {
		return err
	}
	lines := bufio.NewReaderSize(in, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var c command
			if err := json.Unmarshal(line, &c); err != nil {
				return fmt.Errorf("%w in %s", err, line)
			}
			if err := d.do(c); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	if d.client != nil {
		d.client.Close(context.Background())
	}
	d.calls.Wait()
	return nil
}

func (d *driver) do(c command) error {
	if d.client == nil || c.Do == "open" {
		opts := dispatchd.Options{}
		if c.Do == "open" {
			opts = dispatchd.Options{
				Timeout:           time.Duration(c.TimeoutMs) * time.Millisecond,
				MaxBufferedEvents: c.MaxBufferedEvents, MaxBufferedBytes: c.MaxBufferedBytes,
				StrictOrder: c.StrictOrder, Disabled: c.Disabled,
				ProducerID: c.ProducerID, SourceUserID: c.SourceUserID, CorrelationID: c.CorrelationID,
				OrganisationID: c.OrganisationID, Envelope: c.Envelope,
			}
		}
		var err error
		if d.client, err = dispatchd.New(opts); err != nil || c.Do == "open" {
			return err
		}
	}
	ctx := newCallContext(c.TimeoutMs)
	switch c.Do {
	case "publish":
		p, err := d.client.Start(ctx, c.Event.event())
		ctx.cancel()
		d.waitFor(c.As, p, err)
	case "tryPublish":
		p, err := d.client.TryPublish(c.Event.event())
		d.waitFor(c.As, p, err)
	case "publishBatch":
		events := make([]dispatchd.Event, len(c.Events))
		for i, e := range c.Events {
			events[i] = e.event()
		}
		d.call(ctx, func() outcome {
			results, err := d.client.PublishBatch(ctx, events)
			return ofResults(c.As, results, err)
		})
	case "begin":
		d.txs[c.As] = d.client.Begin()
		d.print(ofError(c.As, nil))
	case "stage":
		id, err := d.txs[c.Tx].Publish(c.Event.event())
		o := ofError(c.As, err)
		o.ID = id
		d.print(o)
	case "staged":
		d.call(ctx, func() outcome { return ofError(c.As, d.txs[c.Tx].Staged(ctx)) })
	case "commit":
		tx := d.txs[c.Tx]
		d.call(ctx, func() outcome {
			results, err := tx.Commit(ctx)
			return ofResults(c.As, results, err)
		})
	case "rollback":
		d.txs[c.Tx].Rollback()
		d.print(ofError(c.As, nil))
	case "flush":
		d.call(ctx, func() outcome { return ofUnconfirmed(c.As, d.client.Flush(ctx)) })
	case "close":
		d.call(ctx, func() outcome { return ofUnconfirmed(c.As, d.client.Close(ctx)) })
	case "counters":
		n := counters(d.client.Counters())
		d.print(outcome{As: c.As, Counters: &n})
	default:
		return fmt.Errorf("no command is called %q", c.Do)
	}
	return nil
}

// waitFor prints the outcome of an event when it has ended.
func (d *driver) waitFor(as string, p *dispatchd.Pending, err error) {
	if err != nil {
		d.print(ofError(as, err))
		return
	}
	d.calls.Add(1)
	go func() {
		defer d.calls.Done()
		published, err := p.Wait(context.Background())
		d.print(ofPublished(as, published, err))
	}()
}

// call makes a call and prints its outcome. It returns once the call waits, or has ended: what
// follows comes after it.
func (d *driver) call(ctx *callContext, call func() outcome) {
	d.calls.Add(1)
	ended := make(chan struct{})
	go func() {
		defer d.calls.Done()
		defer close(ended)
		defer ctx.cancel()
		d.print(call())
	}()
	select {
	case <-ctx.waitedFor:
	case <-ended:
	}
}

func (d *driver) print(o outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.out.Encode(o); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(1)
	}
}

// callContext is the context of one call. It tells when the call begins to wait: then it asks for
// the channel that ends the wait.
type callContext struct {
	context.Context
	cancel    context.CancelFunc
	once      sync.Once
	waitedFor chan struct{}
}

// newCallContext makes a context that ends after so many ms, or never for 0.
func newCallContext(timeoutMs int) *callContext {
	ctx, cancel := context.Background(), func() {}
	if timeoutMs > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(timeoutMs)*time.Millisecond)
	}
	return &callContext{Context: ctx, cancel: cancel, waitedFor: make(chan struct{})}
}

func (c *callContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waitedFor) })
	return c.Context.Done()
}

func ofError(as string, err error) outcome {
	ok := err == nil
	o := outcome{As: as, OK: &ok}
	var e *dispatchd.Error
	switch {
	case errors.As(err, &e):
		o.Code, o.Message, o.Retryable, o.Outcome = e.Code, e.Message, &e.Retryable, &e.Outcome
	case err != nil:
		o.Message = err.Error()
	}
	return o
}

func ofPublished(as string, p dispatchd.Published, err error) outcome {
	o := ofError(as, err)
	o.ID, o.Timestamp, o.PartitionKey, o.ProducerID = p.ID, p.Timestamp, p.Source.KinesisPartitionKey, p.Source.ProducerID
	o.ShardID, o.SequenceNumber, o.Deduplicated = p.ShardID, p.SequenceNumber, p.Deduplicated
	return o
}

func ofResults(as string, results []dispatchd.Result, err error) outcome {
	o := ofError(as, err)
	for _, r := range results {
		o.Results = append(o.Results, ofPublished("", r.Published, r.Err))
	}
	return o
}

func ofUnconfirmed(as string, unconfirmed int) outcome {
	return outcome{As: as, Unconfirmed: &unconfirmed}
}
