// Package dispatchd publishes events through the dispatchd daemon, which acks each event once it is
// durable in Kinesis.
//
//	client, err := dispatchd.New(dispatchd.Options{})
//	published, err := client.Publish(ctx, dispatchd.Event{Type: "order.placed", Data: order})
//
// What a client promises stands in docs/clients.md of the repository. An event is published, or its
// caller is told: nothing is dropped. The client knows nothing of AWS, batches nothing, and writes
// no log.
package dispatchd

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// What holds where Options says nothing.
const (
	DefaultSocket            = "/run/dispatchd/dispatchd.sock"
	DefaultTimeout           = 150 * time.Second // longer than the daemon's own 2 minutes
	DefaultMaxBufferedEvents = 10_000
	DefaultMaxBufferedBytes  = 32 << 20
	// DefaultFlushTimeout is of Flush and Close, where their context has no deadline.
	DefaultFlushTimeout = 5 * time.Second
)

const (
	// firstWait is the longest wait before the second attempt, of an event or of a connection. It
	// doubles up to lastWait.
	firstWait = 50 * time.Millisecond
	lastWait  = 5 * time.Second
	// alarmsApart bounds how often all events are looked through.
	alarmsApart = 5 * time.Millisecond
	// noTime is later than all times.
	noTime = time.Duration(1<<63 - 1)
	// socketBytesMax is the longest path that a socket can have.
	socketBytesMax = 107
)

// Options are the settings of a client. The zero value is good.
type Options struct {
	// Socket is the path of the daemon's socket, 107 bytes at most. If it is empty, DISPATCHD_SOCKET
	// of the environment is, or else DefaultSocket.
	Socket string
	// These hold for all events of this client, where they are not empty. Each has at most 256
	// bytes. The daemon's own settings hold otherwise.
	ProducerID, SourceUserID, CorrelationID, OrganisationID, Envelope string
	// Timeout is that of a call whose context has no deadline.
	Timeout time.Duration
	// MaxBufferedEvents and MaxBufferedBytes bound the events that are taken on and not yet
	// settled, and their lines.
	MaxBufferedEvents, MaxBufferedBytes int
	// StrictOrder has an event wait until the earlier one of its partition key has its answer. Then
	// the order of the calls is the order in the stream.
	StrictOrder bool
	// Disabled has every event end at once, published nowhere.
	Disabled bool
	// OnSettled is called for each event that was taken on and ends with an ack or an error, before
	// its caller goes on. It is called from the goroutines that do the client's work: it must be
	// quick, must not panic, and must not call Flush or Close. Events of a transaction that is
	// rolled back are counted only.
	OnSettled func(Settled)
	// Trace finds the trace of an event that has no Traceparent, from the context of the call:
	// context.Background where the call has none.
	Trace func(ctx context.Context) (traceparent, tracestate string)
}

// Counters say what became of the events. At every moment Sent = Acked + the sum of Refused +
// RolledBack + Buffered.
type Counters struct {
	// Sent counts the events taken on.
	Sent, Acked uint64
	// Refused counts the events that ended with an error, by its code.
	Refused    map[string]uint64
	RolledBack uint64
	// Buffered and BufferedBytes say what is taken on and not settled.
	Buffered, BufferedBytes int
	// Resent counts the lines that were written again, Reconnects the connections after the first.
	Resent, Reconnects uint64
}

// Client publishes events over one connection to the daemon. All methods may be called from many
// goroutines at once.
//
// One lock guards all that changes. It is held for as long as it takes to move events between
// lists, and never while something is read, written, waited for, or called. Callers, the connection
// and the clock all end events, each at any moment; with an owner that is asked by messages, each
// event would cost two more switches between goroutines.
type Client struct {
	opts   Options
	epoch  time.Time
	refs   atomic.Uint64
	jitter func(longest time.Duration) time.Duration
	stop   context.Context
	cancel context.CancelFunc
	// tasks are the goroutines of the connection.
	tasks sync.WaitGroup

	mu sync.Mutex
	// work wakes the writer.
	work *sync.Cond
	// waiting are events that wait for room in the buffer. They are not taken on.
	waiting list
	// queue is what has to be written, sent what is written and waits for an answer.
	queue, sent list
	// ended are the events that this holder of the lock has settled.
	ended []*Pending
	// lines has the lines of all events taken on and of commits, by ref.
	lines map[uint64]*line
	// keys has the events that wait for an earlier one of their key, by StrictOrder.
	keys map[string]*list

	sequence    uint64
	unconfirmed int
	flushes     []*flushing
	alarm       *time.Timer
	alarmAt     time.Duration

	link    *link
	running bool
	// noLink says why the last connection, or the attempt at one, has failed. It is empty before
	// that, and once the daemon has greeted the client.
	noLink     string
	connected  uint64
	producerID string
	// lastTimestamp and lastShard are those of the last ack: the next one often has the same.
	lastTimestamp, lastShard string
	// transactions counts those that were begun, remote are those that the daemon has.
	transactions uint64
	remote       map[*Tx]struct{}

	// closing: nothing new is taken on. closed: all has ended.
	closing, closed bool
	counters        Counters
}

// flushing is a call of Flush. It waits for what was under way when it was made.
type flushing struct {
	upTo uint64
	left int
	done chan struct{}
}

// New makes a client. It does not connect: the first event does. It fails with an *Error only if a
// setting is negative, or the path of the socket is longer than a socket's can be.
func New(opts Options) (*Client, error) {
	if opts.Timeout < 0 || opts.MaxBufferedEvents < 0 || opts.MaxBufferedBytes < 0 {
		return nil, invalid("Timeout, MaxBufferedEvents and MaxBufferedBytes must not be negative")
	}
	opts.Socket = firstOf(opts.Socket, os.Getenv("DISPATCHD_SOCKET"), DefaultSocket)
	if bytes := len(opts.Socket); bytes > socketBytesMax {
		return nil, invalid("the socket's path has at most %d bytes, not %d: %s", socketBytesMax, bytes, opts.Socket)
	}
	opts.Timeout = firstOf(opts.Timeout, DefaultTimeout)
	opts.MaxBufferedEvents = firstOf(opts.MaxBufferedEvents, DefaultMaxBufferedEvents)
	opts.MaxBufferedBytes = firstOf(opts.MaxBufferedBytes, DefaultMaxBufferedBytes)
	c := &Client{
		opts:   opts,
		epoch:  time.Now(),
		jitter: func(longest time.Duration) time.Duration { return time.Duration(rand.Int63n(int64(longest) + 1)) },
		lines:  map[uint64]*line{},
		keys:   map[string]*list{},
		remote: map[*Tx]struct{}{},

		alarmAt:    noTime,
		producerID: opts.ProducerID,
	}
	c.counters.Refused = map[string]uint64{}
	c.work = sync.NewCond(&c.mu)
	c.stop, c.cancel = context.WithCancel(context.Background())
	c.alarm = time.AfterFunc(noTime, c.onAlarm)
	return c, nil
}

func firstOf[T comparable](values ...T) T {
	var zero T
	for _, v := range values {
		if v != zero {
			return v
		}
	}
	return zero
}

// Publish publishes an event: it returns once the event is durable, or with an *Error.
//
// The call ends with ErrTimeout when ctx ends, or after Options.Timeout where ctx has no deadline.
// The event is not sent after that.
func (c *Client) Publish(ctx context.Context, ev Event) (Published, error) {
	p, err := c.Start(ctx, ev)
	if err != nil {
		return Published{}, err
	}
	c.await(ctx, p)
	return p.result()
}

// Start takes an event on and returns without waiting for its ack. While the buffer is full, it
// waits. It fails with an *Error if the event was not taken on.
//
// The deadline of ctx, or Options.Timeout where it has none, is the event's: it ends with ErrTimeout
// then. That ctx is cancelled after Start has returned changes nothing.
func (c *Client) Start(ctx context.Context, ev Event) (*Pending, error) {
	p, err := c.prepare(ctx, ev)
	if err != nil {
		return nil, err
	}
	c.enter(p)
	if c.admitted(ctx, p); !p.takenOn {
		return nil, p.err
	}
	return p, nil
}

// TryPublish is Start that does not wait: it fails with ErrBufferFull while the buffer is full.
func (c *Client) TryPublish(ev Event) (*Pending, error) {
	p, err := c.prepare(context.Background(), ev)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.unlock()
	if err := c.noRoom(p); err != nil {
		return nil, err
	}
	c.takeOn(p)
	return p, nil
}

// PublishBatch publishes many events, and returns when all have ended: a result for each event, in
// the order of the events, and a *BatchError if one of them was not published. The call ends as that
// of Publish.
func (c *Client) PublishBatch(ctx context.Context, events []Event) ([]Result, error) {
	results := make([]Result, len(events))
	pending := make([]*Pending, len(events))
	// What is written at once is let in at once; no more than that is made ready before there is
	// room for it.
	var ready []*Pending
	bytes := 0
	for i, ev := range events {
		p, err := c.prepare(ctx, ev)
		if err != nil {
			results[i].Err = err
		} else {
			pending[i], ready, bytes = p, append(ready, p), bytes+len(p.bytes)
		}
		if len(ready) > 0 && (bytes >= writeBytes || i == len(events)-1) {
			c.enter(ready...)
			for _, p := range ready {
				c.admitted(ctx, p)
			}
			ready, bytes = nil, 0
		}
	}
	return c.gather(ctx, pending, results)
}

// gather waits for the events, and puts what became of them into the results.
func (c *Client) gather(ctx context.Context, pending []*Pending, results []Result) ([]Result, error) {
	failed := false
	for i, p := range pending {
		if p != nil {
			c.await(ctx, p)
			results[i].Published, results[i].Err = p.result()
		}
		failed = failed || results[i].Err != nil
	}
	if failed {
		return results, &BatchError{Results: results}
	}
	return results, nil
}

// Flush waits until what is under way has ended, at most until ctx ends, or DefaultFlushTimeout where
// ctx has no deadline. It returns how many events are not confirmed. Staged events of open
// transactions are not waited for.
func (c *Client) Flush(ctx context.Context) (unconfirmed int) {
	c.mu.Lock()
	f := &flushing{upTo: c.sequence, left: c.unconfirmed, done: make(chan struct{})}
	if f.left == 0 {
		c.unlock()
		return 0
	}
	c.flushes = append(c.flushes, f)
	c.unlock()
	ctx, cancel := withFlushTimeout(ctx)
	defer cancel()
	select {
	case <-f.done:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.unlock()
	for i := range c.flushes {
		if c.flushes[i] == f {
			c.flushes = append(c.flushes[:i], c.flushes[i+1:]...)
			break
		}
	}
	return f.left
}

func withFlushTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, DefaultFlushTimeout)
}

// Close takes nothing new on, waits as Flush does, and lets the connection go. It returns how many
// events were not confirmed; they end with ErrClosed. Transactions that are open are rolled back.
// The client's goroutines have ended when Close returns.
func (c *Client) Close(ctx context.Context) (unconfirmed int) {
	c.mu.Lock()
	c.closing = true
	for _, l := range c.lines {
		if l.event != nil && l.event.sequence == 0 {
			c.settle(l.event, closedError(l.event))
		}
	}
	c.unlock()
	ctx, cancel := withFlushTimeout(ctx)
	defer cancel()
	for more := true; more; {
		c.Flush(ctx)
		c.mu.Lock()
		more = ctx.Err() == nil && (c.unconfirmed > 0 || c.waiting.first != nil)
		c.unlock()
	}
	c.mu.Lock()
	c.closed = true
	for _, l := range c.lines {
		if l.event != nil {
			unconfirmed++
			c.settle(l.event, closedError(l.event))
		}
	}
	for l := c.waiting.first; l != nil; l = c.waiting.first {
		unconfirmed++
		c.settle(l.event, closedError(l.event))
	}
	c.cancel()
	c.alarm.Stop()
	if c.link != nil {
		c.link.conn.Close()
	}
	c.work.Broadcast()
	c.unlock()
	c.tasks.Wait()
	return unconfirmed
}

// Counters returns the counters as they are now.
func (c *Client) Counters() Counters {
	c.mu.Lock()
	defer c.mu.Unlock()
	counters := c.counters
	counters.Refused = make(map[string]uint64, len(c.counters.Refused))
	for code, n := range c.counters.Refused {
		counters.Refused[code] = n
	}
	return counters
}

// now is the time since the client was made.
func (c *Client) now() time.Duration { return time.Since(c.epoch) }

// deadline is when a call ends whose context is ctx, and which was made now.
func (c *Client) deadline(ctx context.Context, now time.Duration) time.Duration {
	if at, has := ctx.Deadline(); has {
		return at.Sub(c.epoch)
	}
	return now + c.opts.Timeout
}

// prepare makes an event ready to be taken on.
func (c *Client) prepare(ctx context.Context, ev Event) (*Pending, error) {
	if ev.Traceparent == "" && c.opts.Trace != nil {
		ev.Traceparent, ev.Tracestate = c.opts.Trace(ctx)
	}
	id := ev.ID
	if id == "" {
		id = newID()
	}
	now := c.now()
	p := &Pending{id: id, key: ev.PartitionKey, began: now, deadline: c.deadline(ctx, now)}
	p.published.Type, p.published.Source.UserID = ev.Type, firstOf(ev.SourceUserID, c.opts.SourceUserID)
	if err := hadEnded(ctx); err != nil {
		return nil, err
	}
	p.event, p.ref = p, c.refs.Add(1)
	var err error
	if p.bytes, err = encode(p.ref, id, &ev); err != nil {
		return nil, err
	}
	if len(p.bytes) > c.opts.MaxBufferedBytes {
		return nil, &Error{
			Code:    "EventTooLarge",
			Message: fmt.Sprintf("the event's line is %d bytes, the client's buffer takes %d", len(p.bytes), c.opts.MaxBufferedBytes),
			Outcome: NotStored,
		}
	}
	return p, nil
}

// hadEnded fails if there is no time for a call.
func hadEnded(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return &Error{Code: CodeTimeout, Message: "the context had ended before the call", Retryable: true, Outcome: NotStored, cause: err}
	}
	return nil
}

// admitted waits until an event that was entered is taken on, or has ended.
func (c *Client) admitted(ctx context.Context, p *Pending) {
	if p.admitted == nil {
		return
	}
	select {
	case <-p.admitted:
	case <-p.Done():
	case <-ctx.Done():
		c.withdraw(p, ctx.Err())
	}
}

// await waits until an event has ended, and ends it when ctx does.
func (c *Client) await(ctx context.Context, p *Pending) {
	select {
	case <-p.Done():
	case <-ctx.Done():
		c.withdraw(p, ctx.Err())
		<-p.Done()
	}
}

func (c *Client) withdraw(p *Pending, cause error) {
	c.mu.Lock()
	defer c.unlock()
	if !p.settled {
		c.settle(p, c.timeoutError(p, cause))
	}
}

func closedError(p *Pending) *Error {
	return &Error{Code: CodeClosed, Message: "the client was closed", Retryable: true, Outcome: p.outcome()}
}

// timeoutError names the last refusal, and what is waited for.
func (c *Client) timeoutError(p *Pending, cause error) *Error {
	message := fmt.Sprintf("no ack within %v", (c.now() - p.began).Round(time.Millisecond))
	if !p.takenOn {
		message += ": the buffer is full"
	}
	if p.refusal != nil {
		message += fmt.Sprintf(": last refused with %s: %s", p.refusal.Code, p.refusal.Message)
	}
	switch {
	case c.link == nil:
		message += fmt.Sprintf(": no connection to %s: %s", c.opts.Socket, firstOf(c.noLink, "not connected yet"))
	case !c.link.greeted:
		message += fmt.Sprintf(": connected to %s, which has not answered hello", c.opts.Socket)
		if c.noLink != "" {
			message += "; the connection before: " + c.noLink
		}
	case p.refusal == nil:
		message += fmt.Sprintf(": no answer from %s", c.opts.Socket)
	}
	return &Error{Code: CodeTimeout, Message: message, Retryable: true, Outcome: p.outcome(), cause: cause}
}

// outcome says what is known of an event that has no answer for good.
func (p *Pending) outcome() Outcome {
	if p.unknown || p.inFlight {
		return Unknown
	}
	return NotStored
}
