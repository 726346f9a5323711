package dispatchd

// What becomes of an event, from the moment it is taken on until it ends. All of this is called with
// the client's lock held, but for enter and onAlarm, which take it.

import (
	"context"
	"sort"
	"time"
)

// enter takes events on, or has them wait for room, in their order.
func (c *Client) enter(events ...*Pending) {
	c.mu.Lock()
	defer c.unlock()
	for _, p := range events {
		switch {
		case c.closing:
			c.settle(p, closedError(p))
		case c.noRoom(p) == nil:
			c.takeOn(p)
		default:
			p.admitted = make(chan struct{})
			c.waiting.push(&p.line)
			c.wakeAt(p.deadline)
		}
	}
}

// noRoom says why an event cannot be taken on now. Those that wait come first.
func (c *Client) noRoom(p *Pending) *Error {
	switch {
	case c.closing:
		return closedError(p)
	case c.waiting.first != nil || !c.fits(p):
		return &Error{
			Code:      CodeBufferFull,
			Message:   "the client's buffer is full",
			Retryable: true,
			Outcome:   NotStored,
		}
	}
	return nil
}

func (c *Client) fits(p *Pending) bool {
	return c.counters.Buffered < c.opts.MaxBufferedEvents &&
		c.counters.BufferedBytes+len(p.bytes) <= c.opts.MaxBufferedBytes
}

func (c *Client) takeOn(p *Pending) {
	p.takenOn = true
	c.counters.Sent++
	c.counters.Buffered++
	c.counters.BufferedBytes += len(p.bytes)
	c.lines[p.ref] = &p.line
	if p.admitted != nil {
		close(p.admitted)
	}
	if p.tx == nil {
		c.promise(p)
		c.enqueue(p)
	}
}

// promise has an event end by its deadline. From here on it has to be confirmed.
func (c *Client) promise(p *Pending) {
	c.sequence++
	p.sequence = c.sequence
	c.unconfirmed++
	c.wakeAt(p.deadline)
}

// enqueue sends an event that has to be confirmed, in the order of its key.
func (c *Client) enqueue(p *Pending) {
	if c.opts.Disabled {
		c.acked(p, &answer{ID: text(p.id), Timestamp: text(timestamp(time.Now())), PartitionKey: text(firstOf(p.key, p.id))})
		return
	}
	if c.opts.StrictOrder && p.key != "" && !p.holdsKey {
		if held := c.keys[p.key]; held != nil {
			held.push(&p.line)
			return
		}
		c.keys[p.key] = &list{}
		p.holdsKey = true
	}
	c.queue.push(&p.line)
}

// timestamp is a time as the daemon writes it.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// answered is told what the daemon says of an event whose line is written.
func (c *Client) answered(p *Pending, a *answer) {
	staged := p.tx != nil && p.tx.remote
	switch {
	case a.OK && staged:
		p.leave()
		c.check(p)
	case a.OK && a.Staged:
		// A late answer: the event has left its transaction and is on its way by itself.
	case a.OK:
		c.acked(p, a)
	case a.Error == nil:
		// Nothing that this client understands.
	case staged:
		c.refusedStaging(p, a.Error)
	case a.Error.Code == "TransactionEnded" || a.Error.Code == "TransactionTooLarge":
		// Late likewise.
	default:
		c.refused(p, a.Error)
	}
}

// acked keeps what the ack says. Most of that is at hand: only the sequence number is new with each.
func (c *Client) acked(p *Pending, a *answer) {
	c.lastTimestamp, c.lastShard = a.Timestamp.or(c.lastTimestamp), a.ShardID.or(c.lastShard)
	at := &p.published
	at.ID, at.Source.ProducerID, at.Source.KinesisPartitionKey = a.ID.or(p.id), c.producerID, a.PartitionKey.or(p.key)
	at.Timestamp, at.ShardID, at.Deduplicated = c.lastTimestamp, c.lastShard, a.Deduplicated
	at.SequenceNumber, at.SubSequenceNumber = string(a.SequenceNumber), a.SubSequenceNumber
	c.settle(p, nil)
}

// refused ends an event, or has it sent again after a wait.
func (c *Client) refused(p *Pending, r *refusal) {
	err := r.toError(p.unknown)
	if !err.Retryable {
		c.settle(p, err)
		return
	}
	p.leave()
	p.inFlight, p.unknown = false, err.Outcome == Unknown
	p.refusal = err
	p.retryAt = c.now() + c.jitter(waitAfter(p.refusals))
	p.refusals++
	c.wakeAt(p.retryAt)
}

// waitAfter is the longest wait after so many failures before this one.
func waitAfter(failures int) time.Duration {
	wait := firstWait
	for ; failures > 0 && wait < lastWait; failures-- {
		wait *= 2
	}
	return min(wait, lastWait)
}

// settle ends an event: with an ack if err is nil. Its caller is told by unlock.
func (c *Client) settle(p *Pending, err *Error) {
	p.settled, p.err = true, err
	if p.takenOn {
		c.release(p)
		if err == nil {
			c.counters.Acked++
		} else {
			c.counters.Refused[err.Code]++
		}
	}
	p.leave()
	c.ended = append(c.ended, p)
}

// release forgets an event that was taken on.
func (c *Client) release(p *Pending) {
	delete(c.lines, p.ref)
	c.counters.Buffered--
	c.counters.BufferedBytes -= len(p.bytes)
	dropLine(p.bytes)
	p.bytes = nil // whoever keeps the event keeps no line
	if p.tx != nil {
		c.check(p)
	}
	if p.sequence != 0 {
		c.unconfirmed--
		for _, f := range c.flushes {
			if p.sequence <= f.upTo {
				if f.left--; f.left == 0 {
					close(f.done)
				}
			}
		}
	}
	if p.holdsKey {
		if next := c.keys[p.key].first; next != nil {
			next.leave()
			next.event.holdsKey = true
			c.queue.push(next)
		} else {
			delete(c.keys, p.key)
		}
	}
}

// unlock lets go of the lock after whatever was done under it: it lets in who waits for room, wakes
// who has to work, and tells the callers of the events that have ended.
func (c *Client) unlock() {
	for l := c.waiting.first; l != nil && !c.closed && c.fits(l.event); l = c.waiting.first {
		l.leave()
		c.takeOn(l.event)
	}
	if c.queue.first != nil && !c.closed {
		if !c.running {
			c.running = true
			c.tasks.Add(1)
			go c.run()
		}
		c.work.Signal()
	}
	ended := c.ended
	c.ended = nil
	c.mu.Unlock()
	for _, p := range ended {
		if c.opts.OnSettled != nil && p.takenOn {
			s := Settled{Type: p.published.Type, OK: p.err == nil, Duration: c.now() - p.began, Resent: max(p.written-1, 0)}
			if p.err != nil {
				s.Code = p.err.Code
			}
			c.opts.OnSettled(s)
		}
		p.tell()
	}
}

// wakeAt has onAlarm called at this time, or before. There is one timer for all deadlines and waits:
// events leave it nothing to do when they end, and it looks through all that are left when it rings.
func (c *Client) wakeAt(at time.Duration) {
	if at < c.alarmAt && !c.closed {
		c.alarmAt = at
		c.alarm.Reset(at - c.now())
	}
}

// onAlarm ends what is too late, and sends again what has waited.
func (c *Client) onAlarm() {
	c.mu.Lock()
	defer c.unlock()
	now, next := c.now(), noTime
	c.alarmAt = noTime
	tooLate := func(p *Pending) bool {
		if p.deadline <= now {
			c.settle(p, c.timeoutError(p, context.DeadlineExceeded))
			return true
		}
		next = min(next, p.deadline)
		return false
	}
	for l := c.waiting.first; l != nil; {
		p := l.event
		l = l.next
		tooLate(p)
	}
	var due []*Pending
	for _, l := range c.lines {
		p := l.event
		switch {
		case p == nil || p.sequence == 0 || tooLate(p) || p.retryAt == 0:
		case p.retryAt <= now:
			due = append(due, p)
		default:
			next = min(next, p.retryAt)
		}
	}
	sort.Slice(due, func(i, j int) bool { return due[i].ref < due[j].ref })
	for _, p := range due {
		p.retryAt = 0
		c.enqueue(p)
	}
	if next != noTime {
		c.wakeAt(max(next, now+alarmsApart))
	}
}
