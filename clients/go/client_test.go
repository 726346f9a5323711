package dispatchd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestAnEventIsPublishedAndItsCallerIsToldWhere(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket, SourceUserID: "u-1"})
	p, err := c.Start(context.Background(), Event{Type: "order.placed", Data: map[string]any{"html": "<&>"}, PartitionKey: "customer-9"})
	if err != nil {
		t.Fatal(err)
	}
	k := d.accept()
	if hello := k.read(); hello.line != `{"op":"hello","context":{"sourceUserId":"u-1"}}`+"\n" {
		t.Fatalf("hello is %s", hello.line)
	}
	k.write(`{"op":"hello","ok":true,"version":1,"maxEventBytes":1048576,"producerId":"p@host"}`)
	g := k.read()
	want := fmt.Sprintf(`{"ref":1,"type":"order.placed","data":{"html":"<&>"},"options":{"id":"%s","partitionKey":"customer-9"}}`+"\n", p.ID())
	if g.line != want {
		t.Fatalf("the line is %s, not %s", g.line, want)
	}
	k.write(`{"ref":1,"ok":true,"id":"%s","timestamp":"2026-01-01T00:00:00.000Z","partitionKey":"customer-9","shardId":"s1","sequenceNumber":"49","subSequenceNumber":3,"deduplicated":true}`, p.ID())
	published := mustAck(t, p)
	three := 3
	if !reflect.DeepEqual(published, Published{
		ID: p.ID(), Type: "order.placed", Timestamp: "2026-01-01T00:00:00.000Z",
		Source:  Source{UserID: "u-1", ProducerID: "p@host", KinesisPartitionKey: "customer-9"},
		ShardID: "s1", SequenceNumber: "49", SubSequenceNumber: &three, Deduplicated: true,
	}) {
		t.Fatalf("published is %+v", published)
	}
	if n := consistent(t, c); n.Sent != 1 || n.Acked != 1 || n.Buffered != 0 {
		t.Fatalf("counters are %+v", n)
	}
}

func TestNewDoesNotConnect(t *testing.T) {
	d := newDaemon(t)
	newClient(t, Options{Socket: d.socket})
	if strings.Contains(stacks(), "(*Client).run") {
		t.Fatal("a client without events has a goroutine")
	}
	_, err := New(Options{Timeout: -1})
	mustFail(t, err, "InvalidRequest", NotStored)
}

func TestAPathThatNoSocketCanHaveIsRefusedByNew(t *testing.T) {
	newClient(t, Options{Socket: "/" + strings.Repeat("s", 106)})
	t.Setenv("DISPATCHD_SOCKET", "/"+strings.Repeat("é", 54))
	_, err := New(Options{})
	if e := mustFail(t, err, "InvalidRequest", NotStored); !strings.Contains(e.Message, "at most 107 bytes, not 109: /é") {
		t.Fatalf("the message is %s", e.Message)
	}
}

func TestADaemonThatComesLateIsWaitedFor(t *testing.T) {
	socket := socketPath(t)
	c := newClient(t, Options{Socket: socket})
	p := start(t, c, "a", "")
	eventually(t, "the client has tried", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.noLink != "" })
	d := &daemon{t: t, socket: socket}
	d.listen()
	k := d.greet()
	k.ack(k.read())
	mustAck(t, p)
}

func TestWhatIsNotAnsweredIsSentAgainInItsOrderWithTheSameBytes(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	var pending []*Pending
	for i := 0; i < 5; i++ {
		pending = append(pending, start(t, c, fmt.Sprint(i), "k"))
	}
	k := d.greet()
	first := k.readN(5)
	k.ack(first[1])
	mustAck(t, pending[1])
	k.cut()
	k = d.greet()
	for _, before := range []got{first[0], first[2], first[3], first[4]} {
		if again := k.read(); again.line != before.line {
			t.Fatalf("sent again is %s, not %s", again.line, before.line)
		} else {
			k.ack(again)
		}
	}
	for _, p := range pending {
		mustAck(t, p)
	}
	if n := consistent(t, c); n.Resent != 4 || n.Reconnects != 1 {
		t.Fatalf("counters are %+v", n)
	}
}

func TestARefusalThatMayPassIsTriedAgainAndOneForGoodEndsTheCall(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	a, b := start(t, c, "a", ""), start(t, c, "b", "")
	k := d.greet()
	ga, gb := k.read(), k.read()
	k.refuse(ga, "DeliveryTimeout", true, "not_stored")
	k.refuse(gb, "Rejected", false, "")
	again := k.read()
	if again.line != ga.line {
		t.Fatalf("sent again is %s", again.line)
	}
	k.ack(again)
	mustAck(t, a)
	_, err := wait(t, b)
	if e := mustFail(t, err, "Rejected", NotStored); e.Retryable || e.Message != "said so" {
		t.Fatalf("the error is %#v", e)
	}
	if n := consistent(t, c); n.Refused["Rejected"] != 1 || n.Resent != 1 {
		t.Fatalf("counters are %+v", n)
	}
}

func TestWhatIsTriedAgainAtOnceKeepsItsOrder(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	c.jitter = func(time.Duration) time.Duration { return 0 }
	for i := 0; i < 20; i++ {
		start(t, c, fmt.Sprint(i), "k")
	}
	k := d.greet()
	var refusals []string
	for _, g := range k.readN(20) {
		refusals = append(refusals, refusalOf(g, "Overloaded", true, ""))
	}
	k.write("%s", strings.Join(refusals, "\n"))
	for i := 0; i < 20; i++ {
		if g := k.read(); g.Type != fmt.Sprint(i) {
			t.Fatalf("sent again at %d is %s", i, g.line)
		}
	}
}

func TestWaitsDoubleFrom50MsTo5SAndAreRandomWithin(t *testing.T) {
	var longest []time.Duration
	for i := 0; i < 9; i++ {
		longest = append(longest, waitAfter(i)/time.Millisecond)
	}
	if got := fmt.Sprint(longest); got != "[50ns 100ns 200ns 400ns 800ns 1.6µs 3.2µs 5µs 5µs]" {
		t.Fatalf("the longest waits are %s ms", got)
	}
	socket := socketPath(t)
	c := newClient(t, Options{Socket: socket})
	asked := make(chan time.Duration, 100)
	c.jitter = func(longest time.Duration) time.Duration {
		asked <- longest
		if len(asked) > 10 {
			return longest
		}
		return 0
	}
	start(t, c, "a", "")
	for i := 0; i < 9; i++ {
		if got := <-asked; got != waitAfter(i) {
			t.Fatalf("wait %d is of at most %v", i, got)
		}
	}
}

// expire lets the event's time end.
func expire(c *Client, p *Pending) {
	c.mu.Lock()
	defer c.unlock()
	p.deadline = c.now()
	c.wakeAt(p.deadline)
}

func refusedOnce(t *testing.T, c *Client, p *Pending) {
	t.Helper()
	eventually(t, "the event is refused", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return p.refusal != nil })
}

func TestATimeoutSaysWhatIsKnown(t *testing.T) {
	t.Run("without a daemon: the socket, and not stored", func(t *testing.T) {
		socket := socketPath(t)
		c := newClient(t, Options{Socket: socket, Timeout: 200 * time.Millisecond})
		_, err := c.Publish(context.Background(), Event{Type: "a", Data: struct{}{}})
		e := mustFail(t, err, "Timeout", NotStored)
		if !strings.Contains(e.Message, socket) || !e.Retryable || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrTimeout) {
			t.Fatalf("the error is %#v", e)
		}
	})
	t.Run("without an answer: unknown", func(t *testing.T) {
		d := newDaemon(t)
		c := newClient(t, Options{Socket: d.socket})
		p := start(t, c, "a", "")
		d.greet().read()
		expire(c, p)
		_, err := wait(t, p)
		mustFail(t, err, "Timeout", Unknown)
	})
	for _, last := range []struct {
		code, outcome string
		want          Outcome
	}{
		{"DeliveryTimeout", "not_stored", NotStored},
		{"DeliveryTimeout", "unknown", Unknown},
		{"Overloaded", "", NotStored},
		{"ANewOne", "", Unknown},
	} {
		t.Run("after "+last.code+" "+last.outcome, func(t *testing.T) {
			d := newDaemon(t)
			c := newClient(t, Options{Socket: d.socket})
			c.jitter = func(time.Duration) time.Duration { return time.Hour }
			p := start(t, c, "a", "")
			k := d.greet()
			k.refuse(k.read(), last.code, true, last.outcome)
			refusedOnce(t, c, p)
			expire(c, p)
			_, err := wait(t, p)
			if e := mustFail(t, err, "Timeout", last.want); !strings.Contains(e.Message, last.code+": said so") {
				t.Fatalf("the message is %s", e.Message)
			}
		})
	}
	t.Run("what was unknown once stays so", func(t *testing.T) {
		d := newDaemon(t)
		c := newClient(t, Options{Socket: d.socket})
		p := start(t, c, "a", "")
		k := d.greet()
		k.read()
		k.cut()
		k = d.greet()
		c.mu.Lock()
		c.jitter = func(time.Duration) time.Duration { return time.Hour }
		c.mu.Unlock()
		k.refuse(k.read(), "DeliveryTimeout", true, "not_stored")
		refusedOnce(t, c, p)
		expire(c, p)
		_, err := wait(t, p)
		mustFail(t, err, "Timeout", Unknown)
	})
}

func TestAnEventWhoseContextEndsIsNotSentAnyMore(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		_, err := c.Publish(ctx, Event{Type: "a", Data: struct{}{}})
		ended <- err
	}()
	k := d.greet()
	k.read()
	cancel()
	err := <-ended
	if mustFail(t, err, "Timeout", Unknown); !errors.Is(err, context.Canceled) {
		t.Fatalf("the error is %v", err)
	}
	k.cut()
	p := start(t, c, "b", "")
	k = d.greet()
	g := k.read()
	if g.Type != "b" {
		t.Fatalf("sent again is %s", g.line)
	}
	k.ack(g)
	mustAck(t, p)
	_, err = c.Publish(ctx, Event{Type: "c", Data: struct{}{}})
	mustFail(t, err, "Timeout", NotStored)
	if n := consistent(t, c); n.Sent != 2 {
		t.Fatalf("counters are %+v", n)
	}
}

func TestTheEndOfAWaitIsNotTheEndOfTheEvent(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	p := start(t, c, "a", "")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var e *Error
	if _, err := p.Wait(ctx); !errors.Is(err, context.Canceled) || errors.As(err, &e) {
		t.Fatalf("the wait ends with %v", err)
	}
	k := d.greet()
	k.ack(k.read())
	mustAck(t, p)
}

func TestMemoryIsBounded(t *testing.T) {
	bounds := map[string]Options{"by events": {MaxBufferedEvents: 2}, "by bytes": {MaxBufferedBytes: 250}}
	for name, opts := range bounds {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			opts.Socket = d.socket
			c := newClient(t, opts)
			start(t, c, "a", "")
			start(t, c, "b", "")
			_, err := c.TryPublish(Event{Type: "c", Data: struct{}{}})
			if mustFail(t, err, "BufferFull", NotStored); !errors.Is(err, ErrBufferFull) {
				t.Fatalf("the error is %v", err)
			}
			_, err = c.Start(within(t, 100*time.Millisecond), Event{Type: "d", Data: struct{}{}})
			mustFail(t, err, "Timeout", NotStored)
			started := make(chan *Pending)
			for i := 0; i < 2; i++ {
				go func() { started <- start(t, c, "e", "") }()
			}
			eventually(t, "both wait", func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.waiting.first != nil && c.waiting.first != c.waiting.last
			})
			k := d.greet()
			for _, g := range k.readN(2) {
				k.ack(g)
			}
			for _, g := range k.readN(2) {
				k.ack(g)
			}
			mustAck(t, <-started)
			mustAck(t, <-started)
			if n := consistent(t, c); n.Sent != 4 || n.BufferedBytes != 0 {
				t.Fatalf("counters are %+v", n)
			}
		})
	}
	c := newClient(t, Options{Socket: socketPath(t), MaxBufferedBytes: 200})
	_, err := c.TryPublish(Event{Type: "large", Data: strings.Repeat("x", 200)})
	mustFail(t, err, "EventTooLarge", NotStored)
}

func TestAFullSocketHoldsWhatComesAfterInTheBoundedBuffer(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket, MaxBufferedEvents: 100})
	k := d.greet2(t, c)
	large := json.RawMessage(`{"x":"` + strings.Repeat("x", 20_000) + `"}`)
	for full := false; !full; {
		_, err := c.TryPublish(Event{Type: "a", Data: large})
		full = errors.Is(err, ErrBufferFull)
	}
	if n := consistent(t, c); n.Buffered != 100 {
		t.Fatalf("counters are %+v", n)
	}
	for i := 0; i < 100; i++ {
		k.ack(k.read())
	}
	eventually(t, "all are acked", func() bool { return c.Counters().Acked == 100 })
}

// greet2 has the client connect by an event, which stays unanswered.
func (d *daemon) greet2(t *testing.T, c *Client) *conn {
	t.Helper()
	start(t, c, "first", "")
	return d.greet()
}

func TestFlushWaitsForWhatIsUnderWay(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	if n := c.Flush(context.Background()); n != 0 {
		t.Fatalf("%d are unconfirmed of none", n)
	}
	start(t, c, "a", "")
	start(t, c, "b", "")
	k := d.greet()
	lines := k.readN(2)
	k.ack(lines[0])
	eventually(t, "one is acked", func() bool { return c.Counters().Acked == 1 })
	if n := c.Flush(within(t, 50*time.Millisecond)); n != 1 {
		t.Fatalf("%d are unconfirmed", n)
	}
	flushed := make(chan int)
	go func() { flushed <- c.Flush(context.Background()) }()
	eventually(t, "the flush waits", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.flushes) == 1 })
	later := start(t, c, "later", "")
	k.ack(k.read())
	mustAck(t, later)
	c.mu.Lock()
	left := c.flushes[0].left
	c.mu.Unlock()
	if left != 1 {
		t.Fatal("the flush waits for an event that came after it")
	}
	start(t, c, "last", "")
	k.ack(lines[1])
	if n := <-flushed; n != 0 {
		t.Fatalf("%d are unconfirmed", n)
	}
}

func TestCloseWaitsThenEndsWhatIsLeft(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket, MaxBufferedEvents: 2})
	a, b := start(t, c, "a", ""), start(t, c, "b", "")
	blocked := make(chan error)
	go func() {
		_, err := c.Start(context.Background(), Event{Type: "c", Data: struct{}{}})
		blocked <- err
	}()
	k := d.greet()
	lines := k.readN(2)
	eventually(t, "one waits", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.waiting.first != nil })
	ctx, cancel := context.WithCancel(within(t, patience))
	closed := make(chan int)
	go func() { closed <- c.Close(ctx) }()
	eventually(t, "it is closing", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.closing })
	_, err := c.Publish(context.Background(), Event{Type: "d", Data: struct{}{}})
	mustFail(t, err, "Closed", NotStored)
	_, err = c.TryPublish(Event{Type: "d", Data: struct{}{}})
	mustFail(t, err, "Closed", NotStored)
	k.ack(lines[0])
	mustAck(t, a)
	if err := <-blocked; err != nil { // there is room for it now
		t.Fatal(err)
	}
	k.read()
	cancel()
	if n := <-closed; n != 2 {
		t.Fatalf("%d are unconfirmed", n)
	}
	_, e := wait(t, b)
	mustFail(t, e, "Closed", Unknown)
	k.expectEnd()
	if n := c.Close(context.Background()); n != 0 {
		t.Fatalf("closed again, %d are unconfirmed", n)
	}
	if n := consistent(t, c); n.Refused["Closed"] != 2 || n.Buffered != 0 {
		t.Fatalf("counters are %+v", n)
	}
}

func TestCloseDoesNotWaitForADaemonThatReadsNothing(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	d.greet2(t, c)
	large := json.RawMessage(`{"x":"` + strings.Repeat("x", 1_000_000) + `"}`)
	for i := 0; i < 10; i++ {
		if _, err := c.TryPublish(Event{Type: "a", Data: large}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the socket is full", func() bool { return strings.Contains(stacks(), "net.(*conn).Write") })
	if n := c.Close(within(t, 50*time.Millisecond)); n != 11 {
		t.Fatalf("%d are unconfirmed", n)
	}
}

func TestCloseEndsTheWaitForRoom(t *testing.T) {
	c := newClient(t, Options{Socket: socketPath(t), MaxBufferedEvents: 1})
	c.jitter = func(time.Duration) time.Duration { return time.Hour } // which Close ends too
	a := start(t, c, "a", "")
	blocked := make(chan error)
	go func() {
		_, err := c.Start(context.Background(), Event{Type: "b", Data: struct{}{}})
		blocked <- err
	}()
	eventually(t, "one waits", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.waiting.first != nil })
	if n := c.Close(within(t, 50*time.Millisecond)); n != 2 {
		t.Fatalf("%d are unconfirmed", n)
	}
	mustFail(t, <-blocked, "Closed", NotStored)
	_, e := wait(t, a)
	mustFail(t, e, "Closed", NotStored)
}

func TestInStrictOrderOneEventOfAKeyIsUnderWay(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket, StrictOrder: true})
	a1, a2, a3 := start(t, c, "a1", "a"), start(t, c, "a2", "a"), start(t, c, "a3", "a")
	b1, n1, n2 := start(t, c, "b1", "b"), start(t, c, "n1", ""), start(t, c, "n2", "")
	k := d.greet()
	expect := func(types ...string) (lines []got) {
		t.Helper()
		for _, want := range types {
			g := k.read()
			if g.Type != want {
				t.Fatalf("%s comes before %s", g.Type, want)
			}
			lines = append(lines, g)
		}
		return lines
	}
	first := expect("a1", "b1", "n1", "n2")
	for _, g := range first[1:] {
		k.ack(g)
	}
	mustAck(t, b1)
	mustAck(t, n1)
	mustAck(t, n2)
	k.refuse(first[0], "Overloaded", true, "")
	again := expect("a1") // not overtaken
	k.ack(again[0])
	k.refuse(expect("a2")[0], "Rejected", false, "")
	k.ack(expect("a3")[0])
	mustAck(t, a1)
	_, err := wait(t, a2)
	mustFail(t, err, "Rejected", NotStored)
	mustAck(t, a3)
	if len(c.keys) != 0 {
		t.Fatalf("keys are kept: %v", c.keys)
	}
}

func TestABatchHasAResultForEachEventInItsOrder(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket, MaxBufferedEvents: 3})
	events := make([]Event, 6)
	for i := range events {
		events[i] = Event{Type: fmt.Sprint(i), Data: struct{}{}}
	}
	events[4].Data = make(chan int) // has no form in JSON
	go func() {
		k := d.greet()
		lines := k.readN(3)
		k.refuse(lines[1], "Rejected", false, "")
		k.ack(lines[2])
		k.ack(lines[0])
		for range []int{3, 5} {
			k.ack(k.read())
		}
	}()
	results, err := c.PublishBatch(within(t, patience), events)
	var batch *BatchError
	if !errors.As(err, &batch) || len(batch.Results) != 6 {
		t.Fatalf("the error is %v", err)
	}
	for i, r := range results {
		switch i {
		case 1:
			mustFail(t, r.Err, "Rejected", NotStored)
		case 4:
			mustFail(t, r.Err, "InvalidRequest", NotStored)
		default:
			if r.Err != nil || r.Published.Type != fmt.Sprint(i) {
				t.Fatalf("result %d is %+v", i, r)
			}
		}
	}
	mustFail(t, err, "Rejected", NotStored) // the first that failed
	if results, err := c.PublishBatch(context.Background(), nil); err != nil || len(results) != 0 {
		t.Fatalf("no events end with %v, %v", results, err)
	}
}

func TestARefusedHelloEndsTheCallsAndTheNextCallTriesAgain(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket, Envelope: "none"})
	p := start(t, c, "a", "")
	k := d.accept()
	k.read()
	k.write(`{"op":"hello","ok":false,"error":{"code":"InvalidRequest","message":"envelope is none","retryable":false}}`)
	_, err := wait(t, p)
	if mustFail(t, err, "InvalidRequest", NotStored); err.Message != "envelope is none" || err.Retryable {
		t.Fatalf("the error is %#v", err)
	}
	k.expectEnd() // and without its context no event was written
	eventually(t, "it rests", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return !c.running })
	p = start(t, c, "b", "")
	k = d.greet()
	k.ack(k.read())
	mustAck(t, p)
}

func TestAClientThatIsTurnedAwayComesAgainAndSaysSo(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	p := start(t, c, "a", "")
	k := d.accept()
	k.write(`{"ok":false,"error":{"code":"Overloaded","message":"too many are here","retryable":true}}`)
	k.cut()
	k = d.accept()
	c.mu.Lock()
	message := c.timeoutError(p, nil).Message
	c.mu.Unlock()
	if !strings.Contains(message, "too many are here") {
		t.Fatalf("the message is %s", message)
	}
	k.read()
	k.write(`{"op":"hello","ok":true,"version":1}`)
	k.ack(k.read())
	mustAck(t, p)
}

func TestWhatIsNotJSONEndsTheConnection(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	p := start(t, c, "a", "")
	k := d.greet()
	g := k.read()
	k.write(`{"ref":%d,"ok":true`, g.Ref)
	k.expectEnd()
	k = d.greet()
	k.ack(k.read())
	mustAck(t, p)
}

func TestAWriterThatWaitsForRoomHearsOfTheEnd(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	k := d.greet2(t, c)
	large := json.RawMessage(`{"x":"` + strings.Repeat("x", 1_000_000) + `"}`)
	for i := 0; i < 10; i++ {
		if _, err := c.TryPublish(Event{Type: "a", Data: large}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the socket is full", func() bool { return strings.Contains(stacks(), "net.(*conn).Write") })
	k.write("not JSON")
	d.greet()
}

func TestAnAnswerWithoutAnEndEndsTheConnection(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	k := d.greet2(t, c)
	part := make([]byte, 1<<20)
	for i := range part {
		part[i] = 'x'
	}
	for i := 0; ; i++ {
		if i > answerBytesMax>>20+10 {
			t.Fatal("the client reads on and on")
		}
		if _, err := k.nc.Write(part); err != nil {
			break
		}
	}
	d.greet()
}

// shortConn takes a part of what is written, and fails.
type shortConn struct {
	net.Conn
	takes int
}

func (s shortConn) Write([]byte) (int, error) { return s.takes, net.ErrClosed }

func TestWhatTheSocketDidNotTakeIsNotWritten(t *testing.T) {
	c := newClient(t, Options{Socket: socketPath(t)})
	c.running = true // by this test
	a, b := start(t, c, "a", ""), start(t, c, "b", "")
	hello, _ := c.opts.hello()
	if err := c.write(&link{conn: shortConn{takes: len(hello) + 1}}); err == nil {
		t.Fatal("the write did not fail")
	}
	if a.outcome() != Unknown || b.outcome() != NotStored || b.written != 0 {
		t.Fatalf("the outcomes are %s, %s", a.outcome(), b.outcome())
	}
	c.running = false
}

func TestWhatTheClientDoesNotKnowIsIgnored(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	p := start(t, c, "a", "")
	k := d.greet()
	g := k.read()
	for _, line := range []string{
		``, "\r", `7`, `[]`, `{}`, `null`, `{"op":"news","ok":true}`, `{"op":"ping","ref":1,"ok":true}`,
		`{"op":"commit","ref":1,"ok":true,"results":[]}`, `{"ref":999,"ok":true}`, `{"ref":"1","ok":true}`,
		`{"ref":1.5,"ok":true}`, `{"ref":1,"ok":false}`, `{"ok":false,"error":{"code":"InvalidRequest","message":"m"}}`,
	} {
		k.write("%s", line)
	}
	ack := strings.Replace(ackOf(g), `"ok"`, `"new":{"a":[1,null]},"text":"\"","ok"`, 1)
	for _, part := range []string{ack[:20], ack[20:50], ack[50:] + "\r\n"} {
		if _, err := k.nc.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if published := mustAck(t, p); published.SequenceNumber != "4968" {
		t.Fatalf("published is %+v", published)
	}
}

func TestAnAnswerToWhatIsNotWrittenIsIgnored(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket, ProducerID: "p"}) // so hello is answered first
	p := start(t, c, "a", "")
	k := d.accept()
	k.read()
	k.write(`{"ref":1,"ok":true,"id":"another's"}`)
	k.write(`{"op":"hello","ok":true,"version":1}`)
	k.ack(k.read())
	if published := mustAck(t, p); published.ID != p.ID() || published.Source.ProducerID != "p" {
		t.Fatalf("published is %+v", published)
	}
}

func TestEveryEventThatEndsIsTold(t *testing.T) {
	d := newDaemon(t)
	told := make(chan Settled, 10)
	c := newClient(t, Options{Socket: d.socket, OnSettled: func(s Settled) { told <- s }})
	a, b := start(t, c, "a", ""), start(t, c, "b", "")
	k := d.greet()
	k.readN(2)
	k.cut()
	k = d.greet()
	lines := k.readN(2)
	k.ack(lines[0])
	mustAck(t, a)
	if s := <-told; s.Type != "a" || !s.OK || s.Code != "" || s.Resent != 1 || s.Duration <= 0 {
		t.Fatalf("told is %+v", s)
	}
	k.refuse(lines[1], "Rejected", false, "")
	wait(t, b)
	if s := <-told; s.Type != "b" || s.OK || s.Code != "Rejected" {
		t.Fatalf("told is %+v", s)
	}
}

func TestATraceIsPassedOnAndNoneIsMadeUp(t *testing.T) {
	d := newDaemon(t)
	type key struct{}
	c := newClient(t, Options{Socket: d.socket, Trace: func(ctx context.Context) (string, string) {
		trace, _ := ctx.Value(key{}).(string)
		return trace, ""
	}})
	ctx := context.WithValue(context.Background(), key{}, "found")
	for _, ev := range []Event{{Type: "a"}, {Type: "b", Traceparent: "given", Tracestate: "state"}} {
		if _, err := c.Start(ctx, ev); err != nil {
			t.Fatal(err)
		}
	}
	start(t, c, "c", "")
	k := d.greet()
	for _, want := range []string{`"traceparent":"found"}`, `"traceparent":"given","tracestate":"state"}`, ``} {
		if g := k.read(); !strings.Contains(g.line, want) || want == "" && strings.Contains(g.line, "trace") {
			t.Fatalf("the line is %s", g.line)
		}
	}
}

func TestADisabledClientEndsEveryEventAtOnce(t *testing.T) {
	c := newClient(t, Options{Socket: socketPath(t), Disabled: true, ProducerID: "p"})
	published, err := c.Publish(context.Background(), Event{Type: "a", Data: struct{}{}})
	if err != nil || published.ID == "" || published.ShardID != "" || published.Timestamp == "" ||
		published.Source != (Source{ProducerID: "p", KinesisPartitionKey: published.ID}) {
		t.Fatalf("published is %+v, %v", published, err)
	}
	tx := c.Begin()
	if _, err := tx.Publish(Event{Type: "b", Data: struct{}{}}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Staged(context.Background()); err != nil {
		t.Fatal(err)
	}
	if results, err := tx.Commit(context.Background()); err != nil || len(results) != 1 {
		t.Fatalf("the commit ends with %v, %v", results, err)
	}
	if n := consistent(t, c); n.Acked != 2 {
		t.Fatalf("counters are %+v", n)
	}
}

func TestManyCallersAndManyCutsLoseNothing(t *testing.T) {
	const callers, each = 20, 50
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket, MaxBufferedEvents: 64, MaxBufferedBytes: 8 << 10})
	c.jitter = func(time.Duration) time.Duration { return 0 }
	var stored sync.Map
	go func() {
		for {
			nc, err := d.listener.Accept()
			if err != nil {
				return
			}
			k := &conn{t: t, nc: nc, in: bufio.NewReader(nc)}
			random := rand.New(rand.NewSource(1))
			for left := random.Intn(200); left > 0; left-- {
				line, err := k.in.ReadString('\n')
				if err != nil {
					break
				}
				var g got
				_ = json.Unmarshal([]byte(line), &g)
				answer := ackOf(g)
				switch {
				case g.Op != "":
					continue
				case random.Intn(10) == 0:
					answer = refusalOf(g, "Overloaded", true, "")
				default:
					stored.Store(g.Options.ID, true)
				}
				if random.Intn(20) > 0 { // or it is lost
					fmt.Fprintln(nc, answer)
				} else {
					break
				}
			}
			nc.Close()
		}
	}()
	var acked atomic.Int64
	var done sync.WaitGroup
	for i := 0; i < callers; i++ {
		done.Add(1)
		go func(i int) {
			defer done.Done()
			for j := 0; j < each; j++ {
				published, err := c.Publish(within(t, patience), Event{Type: "a", Data: struct{}{}, PartitionKey: fmt.Sprint(i)})
				if _, is := stored.Load(published.ID); err != nil || !is {
					t.Errorf("published is %+v, %v", published, err)
					return
				}
				acked.Add(1)
			}
		}(i)
	}
	done.Wait()
	if n := consistent(t, c); n.Acked != callers*each || n.Buffered != 0 || n.Reconnects == 0 || n.Resent == 0 {
		t.Fatalf("counters are %+v", n)
	}
}
