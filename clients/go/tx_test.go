package dispatchd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// staged begins a transaction with events of these types, and reads it at the daemon.
func stagedTx(t *testing.T, d *daemon, c *Client, types ...string) (*Tx, *conn, []got) {
	t.Helper()
	tx := c.Begin()
	for _, name := range types {
		stage(t, tx, name)
	}
	k := d.greet()
	if begin := k.read(); begin.line != `{"op":"begin","tx":"t1"}`+"\n" {
		t.Fatalf("the line is %s", begin.line)
	}
	k.write(`{"op":"begin","tx":"t1","ok":true}`)
	lines := k.readN(len(types))
	for _, g := range lines {
		if g.Tx != "t1" {
			t.Fatalf("staged is %s", g.line)
		}
	}
	return tx, k, lines
}

func stage(t *testing.T, tx *Tx, name string) string {
	t.Helper()
	id, err := tx.Publish(Event{Type: name, Data: struct{}{}})
	if err != nil || id == "" {
		t.Fatalf("staging ends with %q, %v", id, err)
	}
	return id
}

func (k *conn) holds(g got) {
	k.t.Helper()
	k.write(`{"ref":%d,"ok":true,"staged":true,"id":%q}`, g.Ref, g.Options.ID)
}

type commitEnd struct {
	results []Result
	err     error
}

func commit(t *testing.T, tx *Tx) chan commitEnd {
	ended := make(chan commitEnd, 1)
	ctx := within(t, patience)
	go func() {
		results, err := tx.Commit(ctx)
		ended <- commitEnd{results, err}
	}()
	return ended
}

func expectOp(t *testing.T, k *conn, op string) got {
	t.Helper()
	g := k.read()
	if g.Op != op || g.Tx != "t1" {
		t.Fatalf("the line is %s", g.line)
	}
	return g
}

// plainOf is a staged line without its transaction.
func plainOf(staged got) string { return strings.Replace(staged.line, `"tx":"t1",`, "", 1) }

// expectPlain wants the events to come by themselves, with the bytes that were staged.
func expectPlain(t *testing.T, k *conn, staged ...got) {
	t.Helper()
	for _, s := range staged {
		g := k.read()
		if g.line != plainOf(s) {
			t.Fatalf("sent is %s, staged was %s", g.line, s.line)
		}
		k.ack(g)
	}
}

func mustPublish(t *testing.T, ended chan commitEnd, n int) {
	t.Helper()
	if end := <-ended; end.err != nil || len(end.results) != n {
		t.Fatalf("the commit ends with %+v", end)
	}
}

func TestACommitPublishesWhatIsStaged(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	tx, k, lines := stagedTx(t, d, c, "a", "b")
	checked := make(chan error)
	go func() { checked <- tx.Staged(within(t, patience)) }()
	k.holds(lines[0])
	select {
	case err := <-checked:
		t.Fatalf("one is not checked, and staged ends with %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	k.holds(lines[1])
	if err := <-checked; err != nil {
		t.Fatal(err)
	}
	if n := c.Flush(context.Background()); n != 0 {
		t.Fatalf("%d staged events are waited for", n)
	}
	ended := commit(t, tx)
	g := expectOp(t, k, "commit")
	k.write(`{"op":"commit","tx":"t1","ref":%d,"ok":true,"results":[%s,%s]}`, g.Ref, ackOf(lines[0]), ackOf(lines[1]))
	mustPublish(t, ended, 2)
	tx.Rollback() // as deferred
	if _, err := tx.Publish(Event{Type: "c"}); !errors.Is(err, ErrTxDone) {
		t.Fatalf("the error is %v", err)
	}
	if _, err := tx.Commit(context.Background()); !errors.Is(err, ErrTxDone) {
		t.Fatalf("the error is %v", err)
	}
	if n := consistent(t, c); n.Acked != 2 || n.RolledBack != 0 || len(c.remote) != 0 || len(c.lines) != 0 {
		t.Fatalf("counters are %+v", n)
	}
}

func TestARollbackForgetsWhatIsStaged(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	tx, k, lines := stagedTx(t, d, c, "a", "b")
	k.holds(lines[0])
	tx.Rollback()
	tx.Rollback()
	expectOp(t, k, "rollback")
	k.holds(lines[1]) // late
	if _, err := tx.Commit(context.Background()); !errors.Is(err, ErrTxDone) {
		t.Fatalf("the error is %v", err)
	}
	if n := consistent(t, c); n.RolledBack != 2 || n.Buffered != 0 {
		t.Fatalf("counters are %+v", n)
	}
}

func TestARefusalWhileStagingIsKnownBeforeTheCommitAndHoldsNothingUp(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	tx, k, lines := stagedTx(t, d, c, "a", "b", "c")
	k.holds(lines[0])
	k.refuse(lines[1], "InvalidRequest", false, "")
	k.holds(lines[2])
	mustFail(t, tx.Staged(within(t, patience)), "InvalidRequest", NotStored)
	ended := commit(t, tx)
	g := expectOp(t, k, "commit")
	k.write(`{"op":"commit","tx":"t1","ref":%d,"ok":true,"results":[%s,%s]}`, g.Ref, ackOf(lines[0]), ackOf(lines[2]))
	end := <-ended
	if end.results[0].Err != nil || end.results[2].Err != nil {
		t.Fatalf("the results are %+v", end.results)
	}
	mustFail(t, end.results[1].Err, "InvalidRequest", NotStored)
	mustFail(t, end.err, "InvalidRequest", NotStored)
}

func TestATransactionThatTheDaemonEndsIsKeptByTheClient(t *testing.T) {
	for _, code := range []string{"TransactionEnded", "TransactionTooLarge", "Overloaded"} {
		t.Run(code, func(t *testing.T) {
			d := newDaemon(t)
			c := newClient(t, Options{Socket: d.socket})
			tx, k, lines := stagedTx(t, d, c, "a", "b")
			k.holds(lines[0])
			k.refuse(lines[1], code, code != "TransactionTooLarge", "")
			if err := tx.Staged(within(t, patience)); err != nil {
				t.Fatal(err)
			}
			expectOp(t, k, "rollback") // or the ids would stay with the transaction
			stage(t, tx, "c")
			ended := commit(t, tx)
			plain := k.readN(3)
			k.holds(lines[1]) // late, as what follows
			k.refuse(lines[1], "TransactionEnded", true, "")
			k.refuse(lines[1], "TransactionTooLarge", false, "")
			for i, g := range plain {
				if i < 2 && g.line != plainOf(lines[i]) {
					t.Fatalf("sent is %s", g.line)
				}
				k.ack(g)
			}
			end := <-ended
			for i, r := range end.results {
				if r.Err != nil || r.Published.SequenceNumber == "" {
					t.Fatalf("result %d is %+v", i, r)
				}
			}
			if n := consistent(t, c); n.Resent != 0 {
				t.Fatalf("counters are %+v", n)
			}
		})
	}
}

func TestACommitThatTheDaemonDoesNotKnowSendsTheEvents(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	tx, k, lines := stagedTx(t, d, c, "a", "b")
	k.holds(lines[0])
	k.holds(lines[1])
	ended := commit(t, tx)
	g := expectOp(t, k, "commit")
	k.write(`{"op":"commit","tx":"t1","ref":%d,"ok":false,"error":{"code":"TransactionEnded","message":"m","retryable":true}}`, g.Ref)
	expectPlain(t, k, lines...)
	mustPublish(t, ended, 2)
}

func TestOfACommitOnlyWhatMayPassIsTriedAgain(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	tx, k, lines := stagedTx(t, d, c, "a", "b", "c", "d")
	for _, g := range []got{lines[0], lines[1], lines[3]} {
		k.holds(g)
	}
	ended := commit(t, tx)
	g := expectOp(t, k, "commit")
	k.refuse(lines[2], "TransactionTooLarge", false, "") // so the commit does not know it
	k.write(`{"op":"commit","tx":"t1","ref":%d,"ok":false,"results":[%s,%s,%s]}`, g.Ref,
		refusalOf(lines[0], "DeliveryTimeout", true, "unknown"), ackOf(lines[1]), refusalOf(lines[3], "Rejected", false, ""))
	seen := map[string]bool{}
	for _, g := range k.readN(2) {
		seen[g.line] = g.Tx == ""
		k.ack(g)
	}
	if len(seen) != 2 {
		t.Fatalf("sent again is %v", seen)
	}
	end := <-ended
	for i, r := range end.results {
		if i == 3 {
			mustFail(t, r.Err, "Rejected", NotStored)
		} else if r.Err != nil {
			t.Fatalf("result %d is %v", i, r.Err)
		}
	}
	mustFail(t, end.err, "Rejected", NotStored)
}

func TestACutLosesNothingOfATransaction(t *testing.T) {
	t.Run("before the commit", func(t *testing.T) {
		d := newDaemon(t)
		c := newClient(t, Options{Socket: d.socket})
		tx, k, lines := stagedTx(t, d, c, "a", "b")
		k.holds(lines[0])
		k.cut()
		if err := tx.Staged(within(t, patience)); err != nil {
			t.Fatal(err)
		}
		k = d.greet()
		ended := commit(t, tx)
		expectPlain(t, k, lines...)
		mustPublish(t, ended, 2)
	})
	t.Run("after the commit was written, in its place", func(t *testing.T) {
		d := newDaemon(t)
		c := newClient(t, Options{Socket: d.socket})
		tx, k, lines := stagedTx(t, d, c, "a", "b")
		first := start(t, c, "first", "")
		before := k.read()
		ended := commit(t, tx)
		expectOp(t, k, "commit")
		later := start(t, c, "later", "")
		after := k.read()
		k.cut()
		k = d.greet()
		expectPlain(t, k, before, lines[0], lines[1], after)
		mustPublish(t, ended, 2)
		mustAck(t, first)
		mustAck(t, later)
	})
	t.Run("and what nobody knows is unknown", func(t *testing.T) {
		d := newDaemon(t)
		c := newClient(t, Options{Socket: d.socket})
		tx, k, _ := stagedTx(t, d, c, "a")
		ended := make(chan error)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			_, err := tx.Commit(ctx)
			ended <- err
		}()
		expectOp(t, k, "commit")
		cancel()
		err := <-ended
		if mustFail(t, err, "Timeout", Unknown); !errors.Is(err, context.Canceled) {
			t.Fatalf("the error is %v", err)
		}
		if consistent(t, c); len(c.remote) != 0 || len(c.lines) != 0 {
			t.Fatal("the transaction is kept")
		}
	})
}

func TestACommitThatIsNotWrittenInTimeIsRolledBack(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket, ProducerID: "p"}) // so hello is answered first
	tx := c.Begin()
	stage(t, tx, "a")
	k := d.accept()
	k.read()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		_, err := tx.Commit(ctx)
		ended <- err
	}()
	eventually(t, "the commit waits", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return tx.commit != nil })
	cancel()
	mustFail(t, <-ended, "Timeout", NotStored)
	k.write(`{"op":"hello","ok":true,"version":1}`)
	expectOp(t, k, "begin")
	expectOp(t, k, "rollback")
}

func TestWithoutADaemonATransactionIsKeptByTheClient(t *testing.T) {
	socket := socketPath(t)
	c := newClient(t, Options{Socket: socket})
	early := c.Begin() // the first connection may still come
	stage(t, early, "early")
	if err := early.Staged(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	tx := c.Begin()
	if tx.remote {
		t.Fatal("a daemon that is not there is waited for")
	}
	stage(t, tx, "a")
	stage(t, tx, "b")
	if err := tx.Staged(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	ended := commit(t, tx)
	d := &daemon{t: t, socket: socket}
	d.listen()
	k := d.greet()
	for _, want := range []string{"a", "b"} {
		g := k.read()
		if g.Type != want || g.Tx != "" {
			t.Fatalf("the line is %s", g.line)
		}
		k.ack(g)
	}
	mustPublish(t, ended, 2)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := early.Commit(ctx)
	mustFail(t, err, "Timeout", NotStored)
	early.Rollback()
	if n := consistent(t, c); n.Acked != 2 || n.RolledBack != 1 {
		t.Fatalf("counters are %+v", n)
	}
}

func TestStagedEventsCountForTheBuffersBounds(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket, MaxBufferedEvents: 2})
	tx, _, _ := stagedTx(t, d, c, "a", "b")
	_, err := tx.Publish(Event{Type: "c", Data: struct{}{}})
	mustFail(t, err, "BufferFull", NotStored)
	_, err = c.TryPublish(Event{Type: "c", Data: struct{}{}})
	mustFail(t, err, "BufferFull", NotStored)
	tx.Rollback()
	start(t, c, "d", "")
}

func TestAClientThatIsClosedCommitsNothing(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	tx, k, _ := stagedTx(t, d, c, "a")
	empty := c.Begin()
	if n := c.Close(within(t, patience)); n != 0 {
		t.Fatalf("%d are unconfirmed", n)
	}
	expectOp2(t, k)
	for _, tx := range []*Tx{tx, empty, c.Begin()} {
		_, err := tx.Commit(context.Background())
		mustFail(t, err, "Closed", NotStored)
	}
	_, err := c.Begin().Publish(Event{Type: "b", Data: struct{}{}})
	mustFail(t, err, "Closed", NotStored)
	tx.Rollback()
	consistent(t, c)
}

// expectOp2 reads the second begin, if it was written, up to the end.
func expectOp2(t *testing.T, k *conn) {
	t.Helper()
	for {
		line, err := k.in.ReadString('\n')
		if err != nil {
			return
		}
		if !strings.Contains(line, `"op":"begin"`) {
			t.Fatalf("the client wrote %s", line)
		}
	}
}

func TestNoMoreTransactionsAreOpenAtTheDaemonThanItTakes(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket})
	txs := make([]*Tx, remoteMax+1)
	for i := range txs {
		txs[i] = c.Begin()
	}
	k := d.greet()
	for i, g := range k.readN(remoteMax) {
		if g.Op != "begin" || g.Tx != fmt.Sprintf("t%d", i+1) {
			t.Fatalf("the line is %s", g.line)
		}
	}
	txs[0].Rollback()
	expectOp(t, k, "rollback")
	stage(t, txs[remoteMax], "local")
	ended := commit(t, txs[remoteMax])
	if g := k.read(); g.Type != "local" || g.Tx != "" {
		t.Fatalf("the line is %s", g.line)
	} else {
		k.ack(g)
	}
	mustPublish(t, ended, 1)
	c.Begin()
	if g := k.read(); g.Op != "begin" {
		t.Fatalf("the line is %s", g.line)
	}
}

func TestInStrictOrderACommitKeepsTheOrderOfItsKeys(t *testing.T) {
	d := newDaemon(t)
	c := newClient(t, Options{Socket: d.socket, StrictOrder: true})
	first := start(t, c, "first", "k")
	k := d.greet()
	g := k.read()
	tx := c.Begin()
	if _, err := tx.Publish(Event{Type: "a", Data: struct{}{}, PartitionKey: "k"}); err != nil {
		t.Fatal(err)
	}
	expectOp(t, k, "begin")
	k.holds(k.read())
	ended := commit(t, tx)
	expectOp(t, k, "rollback")
	last := start(t, c, "last", "k")
	k.ack(g)
	for _, want := range []string{"a", "last"} {
		g := k.read()
		if g.Type != want {
			t.Fatalf("the line is %s", g.line)
		}
		k.ack(g)
	}
	mustPublish(t, ended, 1)
	mustAck(t, first)
	mustAck(t, last)
}
