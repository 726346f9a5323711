package dispatchd

import (
	"context"
	"strconv"
)

// remoteMax is how many transactions of one client the daemon has at once, which takes 64 on a
// connection. What is begun beyond that is kept in the client only.
const remoteMax = 60

// Tx holds events back until the application knows that they are true: publish after commit.
//
// The daemon checks what is staged, and the client keeps it until the commit is answered. If the
// daemon ends the transaction, or the connection is cut, the client keeps the events by itself and
// sends them as events of their own, with the same ids, when they are committed.
type Tx struct {
	client *Client
	name   string
	events []*Pending
	// remote: the daemon has, or will get, what is staged. It stays so until the commit is
	// answered.
	remote bool
	// commit is the commit's line, once it is asked for.
	commit *line
	// unchecked counts events that the daemon has not answered. checked is closed at 0.
	unchecked int
	checked   chan struct{}
	// ended: no more events, and no other end.
	ended bool
}

// Begin opens a transaction. It does not wait.
func (c *Client) Begin() *Tx {
	c.mu.Lock()
	defer c.unlock()
	tx := &Tx{client: c}
	if c.closing || c.opts.Disabled || c.noLink != "" || len(c.remote) == remoteMax {
		return tx
	}
	c.transactions++
	c.remote[tx] = struct{}{}
	tx.name, tx.remote = "t"+strconv.FormatUint(c.transactions, 10), true
	c.tell("begin", tx)
	return tx
}

// tell writes a line of a transaction to which no answer is needed: where it is refused, so is what
// follows.
func (c *Client) tell(op string, tx *Tx) {
	c.queue.push(&line{bytes: []byte(`{"op":"` + op + `","tx":"` + tx.name + `"}` + "\n"), tx: tx})
}

// Publish stages an event, and returns its id at once. It fails with ErrBufferFull if the client's
// buffer has no room, with ErrClosed, with ErrTxDone, or with an *Error if the event can have no
// line.
func (tx *Tx) Publish(ev Event) (id string, err error) {
	c := tx.client
	p, err := c.prepare(context.Background(), ev)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.unlock()
	if tx.ended {
		return "", ErrTxDone
	}
	if err := c.noRoom(p); err != nil {
		return "", err
	}
	p.tx, p.checked = tx, true
	c.takeOn(p)
	tx.events = append(tx.events, p)
	if tx.remote {
		p.checked = false
		tx.unchecked++
		c.queue.push(&p.line)
	}
	return p.id, nil
}

// Staged waits until the daemon has checked every event, and returns the first refusal, an *Error:
// call it before the commit of the database. It fails with ErrTimeout when ctx ends, or after
// Options.Timeout where ctx has no deadline. What is staged without a daemon is checked when it is
// sent.
func (tx *Tx) Staged(ctx context.Context) error {
	c := tx.client
	ctx, cancel := context.WithDeadline(ctx, c.epoch.Add(c.deadline(ctx, c.now())))
	defer cancel()
	c.mu.Lock()
	for tx.unchecked > 0 && ctx.Err() == nil {
		if tx.checked == nil {
			tx.checked = make(chan struct{})
		}
		checked := tx.checked
		c.unlock()
		select {
		case <-checked:
		case <-ctx.Done():
		}
		c.mu.Lock()
	}
	defer c.unlock()
	for _, p := range tx.events {
		if p.err != nil {
			return p.err
		}
		if !p.checked {
			return c.timeoutError(p, ctx.Err())
		}
	}
	return nil
}

// Commit sends what is staged, and ends as PublishBatch does. It fails with ErrTxDone after an
// earlier end, and with ErrClosed if the client is closed. If ctx had ended before the call, it fails
// with ErrTimeout and the transaction stays open.
func (tx *Tx) Commit(ctx context.Context) ([]Result, error) {
	if err := hadEnded(ctx); err != nil {
		return nil, err
	}
	c := tx.client
	c.mu.Lock()
	if tx.ended {
		c.unlock()
		return nil, ErrTxDone
	}
	tx.ended = true
	if c.closing {
		c.unlock()
		if len(tx.events) == 0 {
			return nil, closedError(&Pending{})
		}
		return c.gather(ctx, tx.events, make([]Result, len(tx.events))) // they have ended
	}
	deadline := c.deadline(ctx, c.now())
	for _, p := range tx.events {
		if !p.settled {
			p.deadline = deadline
			c.promise(p)
		}
	}
	if tx.remote && !c.opts.StrictOrder {
		tx.commit = &line{ref: c.refs.Add(1), tx: tx}
		tx.commit.bytes = []byte(`{"op":"commit","tx":"` + tx.name + `","ref":` + strconv.FormatUint(tx.commit.ref, 10) + "}\n")
		c.lines[tx.commit.ref] = tx.commit
		c.queue.push(tx.commit)
	} else {
		// The daemon keeps no key's later events back for a commit.
		c.detach(tx)
		c.sendAll(tx)
	}
	c.unlock()

	results, err := c.gather(ctx, tx.events, make([]Result, len(tx.events)))
	c.mu.Lock()
	defer c.unlock()
	if tx.remote {
		// Its time ended first.
		if tx.commit.in == &c.queue {
			c.tell("rollback", tx)
		}
		c.forget(tx)
	}
	return results, err
}

// Rollback forgets what is staged. After Commit, or after another Rollback, it does nothing: defer
// it.
func (tx *Tx) Rollback() {
	c := tx.client
	c.mu.Lock()
	defer c.unlock()
	if tx.ended {
		return
	}
	tx.ended = true
	c.detach(tx)
	for _, p := range tx.events {
		if !p.settled {
			p.settled = true
			c.release(p)
			c.counters.RolledBack++
		}
	}
}

// detach has the client keep a transaction by itself, before it is committed. The daemon lets it go.
func (c *Client) detach(tx *Tx) {
	if tx.remote {
		c.forget(tx)
		c.tell("rollback", tx)
	}
}

// forget has nothing waited for any more that the daemon could say of the transaction.
func (c *Client) forget(tx *Tx) {
	tx.remote = false
	delete(c.remote, tx)
	if tx.commit != nil {
		tx.commit.leave()
		delete(c.lines, tx.commit.ref)
	}
	for _, p := range tx.events {
		if !p.settled {
			p.leave()
		}
		c.check(p)
	}
}

// check says that nothing is to be waited for before the event may be committed.
func (c *Client) check(p *Pending) {
	if p.checked {
		return
	}
	p.checked = true
	if p.tx.unchecked--; p.tx.unchecked == 0 && p.tx.checked != nil {
		close(p.tx.checked)
		p.tx.checked = nil
	}
}

// refusedStaging is told that the daemon did not stage an event.
func (c *Client) refusedStaging(p *Pending, r *refusal) {
	isOver := r.Retryable || r.Code == "TransactionTooLarge"
	switch {
	case !isOver:
		c.settle(p, r.toError(false))
	case p.tx.commit != nil:
		// What the commit's answer does not name is sent then.
		p.leave()
		c.check(p)
	default:
		c.detach(p.tx)
	}
}

// committed is told the answer to a commit. What has no result, or one that may be better next time,
// goes by itself.
func (c *Client) committed(tx *Tx, a *answer) {
	c.forget(tx)
	for i := range a.Results {
		r := &a.Results[i]
		l := c.lines[r.ref]
		switch {
		case l == nil || l.tx != tx || l.event == nil:
		case r.OK:
			c.acked(l.event, r)
		case r.Error != nil:
			c.refused(l.event, r.Error)
		}
	}
	for _, p := range tx.events {
		p.inFlight = false
	}
	c.sendAll(tx)
}

// sendAll sends each event of a transaction that is committed by itself, unless it is on its way.
func (c *Client) sendAll(tx *Tx) {
	for _, p := range tx.events {
		if !p.settled && p.retryAt == 0 {
			c.enqueue(p)
		}
	}
}
