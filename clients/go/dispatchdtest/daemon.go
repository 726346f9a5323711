// Package dispatchdtest has a daemon for an application's own tests: it acks events and keeps them in
// memory. It is a daemon on a real socket, so the application's client is the one it always uses. It
// knows nothing of Kinesis, and has no limits.
//
//	daemon := dispatchdtest.New(t)
//	client, err := dispatchd.New(dispatchd.Options{Socket: daemon.Socket})
//	…
//	if got := daemon.Events(); len(got) != 1 { … }
package dispatchdtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Event is an event that was published.
type Event struct {
	ID           string
	Type         string
	PartitionKey string
	SourceUserID string
	Data         json.RawMessage
}

// Daemon acks what it is sent. All methods may be called from many goroutines at once.
type Daemon struct {
	// Socket is the path to give to the client.
	Socket string

	listener net.Listener
	tasks    sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	closed   bool
	events   []Event
	stored   map[string]ack
	refusals []refusal
}

// New starts a daemon that ends with the test.
func New(t testing.TB) *Daemon {
	t.Helper()
	// A socket's path is short: that of t.TempDir may not be.
	dir, err := os.MkdirTemp("", "dispatchd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &Daemon{
		Socket: filepath.Join(dir, "s"),
		conns:  map[net.Conn]struct{}{},
		stored: map[string]ack{},
	}
	if d.listener, err = net.Listen("unix", d.Socket); err != nil {
		t.Fatal(err)
	}
	d.tasks.Add(1)
	go d.accept()
	t.Cleanup(d.close)
	return d
}

// Events returns what was published so far, in its order.
func (d *Daemon) Events() []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Event(nil), d.events...)
}

// RefuseNext has the next event be refused with this code, once. Called again, it has the one after
// that be refused too. DeliveryTimeout, ShuttingDown, Overloaded and TransactionEnded are retryable,
// so the client sends the event again.
func (d *Daemon) RefuseNext(code string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := refusal{Code: code, Message: "refused by the test"}
	switch code {
	case "DeliveryTimeout", "ShuttingDown":
		r.Retryable, r.Outcome = true, "not_stored"
	case "Overloaded", "TransactionEnded":
		r.Retryable = true
	}
	d.refusals = append(d.refusals, r)
}

// Cut ends all connections, as a restart of the daemon does. It forgets no event.
func (d *Daemon) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for conn := range d.conns {
		conn.Close()
	}
}

func (d *Daemon) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.listener.Close()
	d.Cut()
	d.tasks.Wait()
}

func (d *Daemon) accept() {
	defer d.tasks.Done()
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return
		}
		d.mu.Lock()
		if d.closed {
			conn.Close()
		}
		d.conns[conn] = struct{}{}
		d.mu.Unlock()
		d.tasks.Add(1)
		go func() {
			defer d.tasks.Done()
			d.serve(conn)
			d.mu.Lock()
			delete(d.conns, conn)
			d.mu.Unlock()
			conn.Close()
		}()
	}
}

// request is a line of a client.
type request struct {
	Op      string          `json:"op"`
	Ref     json.RawMessage `json:"ref"`
	Tx      string          `json:"tx"`
	Type    string          `json:"type"`
	Data    json.RawMessage `json:"data"`
	Context struct {
		ProducerID   string `json:"producerId"`
		SourceUserID string `json:"sourceUserId"`
	} `json:"context"`
	Options struct {
		ID           string `json:"id"`
		PartitionKey string `json:"partitionKey"`
		SourceUserID string `json:"sourceUserId"`
	} `json:"options"`
}

type answer struct {
	Op         string          `json:"op,omitempty"`
	Tx         string          `json:"tx,omitempty"`
	Ref        json.RawMessage `json:"ref,omitempty"`
	OK         bool            `json:"ok"`
	Version    int             `json:"version,omitempty"`
	ProducerID string          `json:"producerId,omitempty"`
	Staged     bool            `json:"staged,omitempty"`
	ack
	Error   *refusal `json:"error,omitempty"`
	Results []answer `json:"results,omitempty"`
}

type ack struct {
	ID             string `json:"id,omitempty"`
	Timestamp      string `json:"timestamp,omitempty"`
	PartitionKey   string `json:"partitionKey,omitempty"`
	ShardID        string `json:"shardId,omitempty"`
	SequenceNumber string `json:"sequenceNumber,omitempty"`
	Deduplicated   bool   `json:"deduplicated,omitempty"`
}

type refusal struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
	Outcome   string `json:"outcome,omitempty"`
}

// serve answers the lines of one connection.
func (d *Daemon) serve(conn net.Conn) {
	in, out := bufio.NewReader(conn), json.NewEncoder(conn)
	producer, user := "test@localhost", ""
	staged := map[string][]request{}
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var r request
		var a answer
		if err := json.Unmarshal(line, &r); err != nil {
			a.Error = &refusal{Code: "InvalidRequest", Message: err.Error()}
		}
		a.Op, a.Tx, a.Ref = r.Op, r.Tx, r.Ref
		_, open := staged[r.Tx]
		switch {
		case a.Error != nil:
		case r.Op == "hello":
			if r.Context.ProducerID != "" {
				producer = r.Context.ProducerID
			}
			user = r.Context.SourceUserID
			a.OK, a.Version, a.ProducerID = true, 1, producer
		case r.Op == "begin":
			staged[r.Tx] = nil
			a.OK = true
		case r.Tx != "" && !open:
			a.Error = &refusal{Code: "TransactionEnded", Message: "no transaction of this name is open", Retryable: true}
		case r.Op == "rollback":
			delete(staged, r.Tx)
			a.OK = true
		case r.Op == "commit":
			a.OK = true
			for _, r := range staged[r.Tx] {
				a.Results = append(a.Results, d.publish(r, user))
			}
			delete(staged, r.Tx)
		case r.Op != "":
			a.Error = &refusal{Code: "InvalidRequest", Message: fmt.Sprintf("op %q is not known here", r.Op)}
		case r.Tx != "":
			a.Tx = ""
			if a.Error = d.refuses(); a.Error == nil {
				staged[r.Tx] = append(staged[r.Tx], r)
				a.OK, a.Staged, a.ack.ID = true, true, r.Options.ID
			}
		default:
			if a.Error = d.refuses(); a.Error == nil {
				a = d.publish(r, user)
			}
		}
		if out.Encode(a) != nil {
			return
		}
	}
}

func (d *Daemon) refuses() *refusal {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.refusals) == 0 {
		return nil
	}
	r := d.refusals[0]
	d.refusals = d.refusals[1:]
	return &r
}

func (d *Daemon) publish(r request, user string) answer {
	d.mu.Lock()
	defer d.mu.Unlock()
	stored, known := d.stored[r.Options.ID]
	if known {
		stored.Deduplicated = true
		return answer{Ref: r.Ref, OK: true, ack: stored}
	}
	if r.Options.SourceUserID != "" {
		user = r.Options.SourceUserID
	}
	key := r.Options.PartitionKey
	if key == "" {
		key = r.Options.ID
	}
	d.events = append(d.events, Event{ID: r.Options.ID, Type: r.Type, PartitionKey: key, SourceUserID: user, Data: r.Data})
	stored = ack{
		ID:             r.Options.ID,
		Timestamp:      time.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
		PartitionKey:   key,
		ShardID:        "shardId-000000000000",
		SequenceNumber: fmt.Sprint(len(d.events)),
	}
	d.stored[r.Options.ID] = stored
	return answer{Ref: r.Ref, OK: true, ack: stored}
}
