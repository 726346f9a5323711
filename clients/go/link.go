package dispatchd

// The connection to the daemon: one goroutine dials and writes, one reads.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

const (
	// writeBytes is how much is joined into one write, unless one line is longer.
	writeBytes = 64 << 10
	readBytes  = 64 << 10
	// answerBytesMax is the longest line that is read: the answer to the largest commit is shorter.
	answerBytesMax = 64 << 20
	dialTimeout    = 5 * time.Second
	// lastWordsTimeout is how long the daemon's last answers are waited for when it reads no more.
	lastWordsTimeout = time.Second
)

// link is one connection.
type link struct {
	conn net.Conn
	// greeted: the daemon has answered hello. refused: it does not take this client's.
	greeted, refused bool
	// broken is why nothing more can be written; set by the reader.
	broken error
}

// run keeps a connection until the client is closed, or the daemon refuses its hello: then the next
// event starts it again.
func (c *Client) run() {
	defer c.tasks.Done()
	for failures := 0; ; failures++ {
		k, err := c.serve()
		c.mu.Lock()
		c.lost(err)
		if k != nil && k.refused || c.closed {
			c.noLink = ""
			c.running = false
			c.unlock()
			return
		}
		c.unlock()
		if k != nil && k.greeted {
			failures = 0
		}
		select {
		case <-time.After(c.jitter(waitAfter(failures))):
		case <-c.stop.Done():
		}
	}
}

// serve connects, and writes and reads until the connection ends. It returns why.
func (c *Client) serve() (*link, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(c.stop, "unix", c.opts.Socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	k := &link{conn: conn}
	c.mu.Lock()
	if c.closed {
		c.unlock()
		return nil, net.ErrClosed
	}
	c.link = k
	if c.connected++; c.connected > 1 {
		c.counters.Reconnects++
	}
	c.unlock()

	read := make(chan error, 1)
	c.tasks.Add(1)
	go func() {
		defer c.tasks.Done()
		err := c.read(k)
		c.mu.Lock()
		k.broken = err
		c.work.Broadcast()
		c.unlock()
		conn.Close() // the writer may wait for room
		read <- err
	}()
	if err := c.write(k); err != nil {
		// What the daemon said before it went says more.
		_ = conn.SetReadDeadline(time.Now().Add(lastWordsTimeout))
	} else {
		conn.Close()
	}
	return k, <-read
}

// hello is the first line of a connection, and whether it has a context.
func (o *Options) hello() (first []byte, hasContext bool) {
	type context struct {
		SourceUserID   string `json:"sourceUserId,omitempty"`
		ProducerID     string `json:"producerId,omitempty"`
		CorrelationID  string `json:"correlationId,omitempty"`
		OrganisationID string `json:"organisationId,omitempty"`
		Envelope       string `json:"envelope,omitempty"`
	}
	hello := struct {
		Op      string   `json:"op"`
		Context *context `json:"context,omitempty"`
	}{Op: "hello"}
	if given := (context{o.SourceUserID, o.ProducerID, o.CorrelationID, o.OrganisationID, o.Envelope}); given != (context{}) {
		hello.Context = &given
	}
	text, _ := json.Marshal(hello) // texts always have a form in JSON
	return append(text, '\n'), hello.Context != nil
}

// write writes hello, and then what is queued, all that has gathered in one write. It returns nil
// when the connection is over, and an error when the daemon reads no more.
func (c *Client) write(k *link) error {
	out, hasContext := c.opts.hello()
	// batch are the lines of one write, and starts where they begin in it.
	var batch []*line
	var starts []int
	for {
		c.mu.Lock()
		for len(out) == 0 && c.next(k, hasContext) == nil && k.broken == nil && !c.closed {
			c.work.Wait()
		}
		if k.broken != nil || c.closed {
			c.unlock()
			return nil
		}
		for l := c.next(k, hasContext); l != nil && (len(out) == 0 || len(out)+len(l.bytes) <= writeBytes); l = c.next(k, hasContext) {
			batch, starts = append(batch, l), append(starts, len(out))
			out = l.appendTo(out)
			c.isWritten(l)
		}
		c.unlock()

		n, err := k.conn.Write(out)
		if err != nil {
			c.mu.Lock()
			for i, l := range batch {
				if starts[i] >= n {
					c.isNotWritten(l)
				}
			}
			c.unlock()
			return err
		}
		clear(batch)
		batch, starts, out = batch[:0], starts[:0], out[:0]
		if cap(out) > 2*writeBytes {
			out = nil
		}
	}
}

// next is the line to be written next, or nil if there is none now. Behind a context that it refuses,
// the daemon would publish events without one: nothing is written before it has answered.
func (c *Client) next(k *link, hasContext bool) *line {
	if hasContext && !k.greeted {
		return nil
	}
	return c.queue.first
}

// appendTo writes the line. A staged event is its own line with the transaction's name put in.
func (l *line) appendTo(out []byte) []byte {
	if l.event == nil || l.tx == nil || !l.tx.remote {
		return append(out, l.bytes...)
	}
	afterRef := bytes.IndexByte(l.bytes, ',')
	out = append(out, l.bytes[:afterRef]...)
	out = append(out, `,"tx":`...)
	out = strconv.AppendQuote(out, l.tx.name)
	return append(out, l.bytes[afterRef:]...)
}

// isWritten says that a line is about to be handed to the socket.
func (c *Client) isWritten(l *line) {
	l.leave()
	if l.ref != 0 {
		c.sent.push(l)
	}
	p := l.event
	switch {
	case p != nil:
		// What is staged stores nothing before its commit.
		if p.inFlight = l.tx == nil || !l.tx.remote; p.inFlight {
			if p.written++; p.written > 1 {
				c.counters.Resent++
			}
		}
	case l == l.tx.commit:
		for _, p := range l.tx.events {
			p.inFlight = !p.settled
		}
	}
}

// isNotWritten says that the socket did not take a line of which isWritten was said.
func (c *Client) isNotWritten(l *line) {
	if l.in != &c.sent {
		return
	}
	if p := l.event; p != nil {
		if p.inFlight {
			p.inFlight = false
			if p.written--; p.written > 0 {
				c.counters.Resent--
			}
		}
		return
	}
	for _, p := range l.tx.events {
		p.inFlight = false
	}
}

// lost says that there is no connection. What is not answered is queued again, in its order; a
// transaction that was being committed has its events go in the place of its commit.
func (c *Client) lost(why error) {
	c.link, c.noLink = nil, why.Error()
	lines := []*line{}
	for _, from := range []*list{&c.sent, &c.queue} {
		for l := from.first; l != nil; l = from.first {
			l.leave()
			lines = append(lines, l)
		}
	}
	for _, l := range lines {
		switch {
		case l.tx == nil || l.event != nil && !l.tx.remote:
			c.wasInFlight(l.event)
			c.queue.push(l)
		case l == l.tx.commit:
			c.forget(l.tx)
			for _, p := range l.tx.events {
				if !p.settled {
					c.wasInFlight(p)
				}
			}
			c.sendAll(l.tx)
		}
	}
	for tx := range c.remote {
		c.forget(tx)
	}
}

// wasInFlight says that nobody will hear whether the event is stored.
func (c *Client) wasInFlight(p *Pending) {
	p.unknown = p.unknown || p.inFlight
	p.inFlight = false
}

// read reads answers until the connection ends, and returns why it did.
func (c *Client) read(k *link) error {
	buf := make([]byte, readBytes)
	// buf[start:end] is read and not yet understood; there is no line feed before searched. The answers
	// share its bytes, until they are heard.
	var start, searched, end int
	var answers []answer
	for {
		n, err := k.conn.Read(buf[end:])
		end += n
		var wrong error
		for wrong == nil {
			at := bytes.IndexByte(buf[searched:end], '\n')
			if at < 0 {
				searched = end
				break
			}
			line := bytes.TrimSpace(buf[start : searched+at])
			searched += at + 1
			start = searched
			if len(line) > 0 {
				answers = append(answers, answer{})
				wrong = answers[len(answers)-1].parse(line)
			}
		}
		if fault := c.hear(k, answers); fault != nil {
			return fault
		}
		clear(answers)
		answers = answers[:0]
		switch {
		case wrong != nil:
			return fmt.Errorf("the daemon wrote what is not JSON: %w", wrong)
		case err != nil:
			return fmt.Errorf("the connection ended: %w", err)
		case end-start > answerBytesMax:
			return errors.New("the daemon wrote a line that is too long")
		}
		if end == len(buf) || start == end {
			room := buf
			if end-start > len(buf)/2 {
				room = make([]byte, 2*len(buf))
			} else if start == end && len(buf) > readBytes {
				room = make([]byte, readBytes)
			}
			start, searched, end = 0, searched-start, copy(room, buf[start:end])
			buf = room
		}
	}
}

// hear does what a few answers say. It returns an error if the connection is of no use any more.
func (c *Client) hear(k *link, answers []answer) error {
	c.mu.Lock()
	defer c.unlock()
	c.ended = make([]*Pending, 0, len(answers))
	for i := range answers {
		a := &answers[i]
		l := c.lines[a.ref]
		switch {
		case a.Op == "hello" && a.OK:
			k.greeted, c.noLink = true, ""
			c.producerID = firstOf(a.ProducerID, c.opts.ProducerID)
		case a.Op == "hello" && a.Error != nil:
			return c.refusedHello(k, a.Error)
		case a.Op == "" && a.ref == 0 && a.Error != nil && a.Error.Code == "Overloaded":
			return errors.New("the daemon turned the client away: " + a.Error.Message)
		case l == nil || l.in != &c.sent:
		case a.Op == "" && l.event != nil:
			c.answered(l.event, a)
		case a.Op == "commit" && l.event == nil:
			c.committed(l.tx, a)
		}
	}
	return nil
}

// refusedHello ends what waits to be confirmed, unless the next connection may be better.
func (c *Client) refusedHello(k *link, r *refusal) error {
	if !r.Retryable {
		k.refused = true
		for _, l := range c.lines {
			if p := l.event; p != nil && p.sequence != 0 {
				c.settle(p, r.toError(p.outcome() == Unknown))
			}
		}
	}
	return fmt.Errorf("the daemon refused hello: %s: %s", r.Code, r.Message)
}
