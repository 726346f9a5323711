package dispatchd

// A daemon that does what a test says: the test reads the client's lines and writes the answers.

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

type daemon struct {
	t        *testing.T
	socket   string
	listener net.Listener
}

// conn is a connection of the client's.
type conn struct {
	t  *testing.T
	nc net.Conn
	in *bufio.Reader
}

// got is a line of the client's.
type got struct {
	Op      string          `json:"op"`
	Ref     uint64          `json:"ref"`
	Tx      string          `json:"tx"`
	Type    string          `json:"type"`
	Data    json.RawMessage `json:"data"`
	Options struct {
		ID           string `json:"id"`
		PartitionKey string `json:"partitionKey"`
	} `json:"options"`
	line string
}

func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dispatchd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{t: t, socket: socketPath(t)}
	d.listen()
	return d
}

func (d *daemon) listen() {
	d.t.Helper()
	os.Remove(d.socket)
	listener, err := net.Listen("unix", d.socket)
	if err != nil {
		d.t.Fatal(err)
	}
	d.listener = listener
	d.t.Cleanup(func() { listener.Close() })
}

// accept takes the next connection, before hello.
func (d *daemon) accept() *conn {
	d.t.Helper()
	_ = d.listener.(*net.UnixListener).SetDeadline(time.Now().Add(patience))
	nc, err := d.listener.Accept()
	if err != nil {
		d.t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	d.t.Cleanup(func() { nc.Close() })
	return &conn{t: d.t, nc: nc, in: bufio.NewReader(nc)}
}

// greet takes the next connection, and answers hello.
func (d *daemon) greet() *conn {
	d.t.Helper()
	k := d.accept()
	if hello := k.read(); hello.Op != "hello" {
		d.t.Fatalf("the first line is %s", hello.line)
	}
	k.write(`{"op":"hello","ok":true,"version":1,"maxEventBytes":1048576,"producerId":"p@host"}`)
	return k
}

func (k *conn) read() got {
	k.t.Helper()
	_ = k.nc.SetDeadline(time.Now().Add(patience)) // of each line: a test may have many
	line, err := k.in.ReadString('\n')
	if err != nil {
		k.t.Fatalf("no line: %v", err)
	}
	g := got{line: line}
	if err := json.Unmarshal([]byte(line), &g); err != nil {
		k.t.Fatalf("%v in %s", err, line)
	}
	return g
}

func (k *conn) readN(n int) []got {
	k.t.Helper()
	lines := make([]got, n)
	for i := range lines {
		lines[i] = k.read()
	}
	return lines
}

func (k *conn) write(format string, args ...any) {
	k.t.Helper()
	if _, err := fmt.Fprintf(k.nc, format+"\n", args...); err != nil {
		k.t.Fatal(err)
	}
}

func (k *conn) ack(g got) { k.t.Helper(); k.write("%s", ackOf(g)) }

func ackOf(g got) string {
	key := firstOf(g.Options.PartitionKey, g.Options.ID)
	return fmt.Sprintf(`{"ref":%d,"ok":true,"id":%q,"timestamp":"2026-01-01T00:00:00.000Z","partitionKey":%q,`+
		`"shardId":"shardId-000000000001","sequenceNumber":"4968"}`, g.Ref, g.Options.ID, key)
}

func (k *conn) refuse(g got, code string, retryable bool, outcome string) {
	k.t.Helper()
	k.write("%s", refusalOf(g, code, retryable, outcome))
}

func refusalOf(g got, code string, retryable bool, outcome string) string {
	if outcome != "" {
		outcome = fmt.Sprintf(`,"outcome":%q`, outcome)
	}
	return fmt.Sprintf(`{"ref":%d,"ok":false,"error":{"code":%q,"message":"said so","retryable":%t%s}}`, g.Ref, code, retryable, outcome)
}

func (k *conn) cut() { k.nc.Close() }

// expectEnd waits until the client has ended the connection.
func (k *conn) expectEnd() {
	k.t.Helper()
	if line, err := k.in.ReadString('\n'); err == nil {
		k.t.Fatalf("the client wrote %s", line)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		k.t.Fatal("the client did not end the connection")
	}
}

// newClient makes a client that is closed with the test, and that leaves no goroutine behind.
func newClient(t *testing.T, opts Options) *Client {
	t.Helper()
	c, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		c.Close(ctx)
		if c.mu.Lock(); c.running {
			t.Error("a goroutine outlives Close")
		}
		c.mu.Unlock()
		eventually(t, "the client's goroutines have ended", func() bool { return !strings.Contains(stacks(), "clients/go.(*Client)") })
	})
	return c
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it is not so that %s", what)
		}
	}
}

// start starts an event of type t-N and this key.
func start(t *testing.T, c *Client, name, key string) *Pending {
	t.Helper()
	p, err := c.Start(context.Background(), Event{Type: name, Data: json.RawMessage(`{}`), PartitionKey: key})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wait(t *testing.T, p *Pending) (Published, *Error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	published, err := p.Wait(ctx)
	var e *Error
	if err != nil && !errors.As(err, &e) {
		t.Fatal(err)
	}
	return published, e
}

func mustAck(t *testing.T, p *Pending) Published {
	t.Helper()
	published, err := wait(t, p)
	if err != nil {
		t.Fatal(err)
	}
	return published
}

// mustFail wants the event to end with this code and outcome.
func mustFail(t *testing.T, err error, code string, outcome Outcome) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code || e.Outcome != outcome {
		t.Fatalf("the error is %#v, not %s with outcome %s", err, code, outcome)
	}
	return e
}

// within is a context with this timeout.
func within(t *testing.T, timeout time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	t.Cleanup(cancel)
	return ctx
}

// consistent checks what holds of counters at every moment.
func consistent(t *testing.T, c *Client) Counters {
	t.Helper()
	n := c.Counters()
	sum := n.Acked + n.RolledBack + uint64(n.Buffered)
	for _, refused := range n.Refused {
		sum += refused
	}
	if n.Sent != sum || n.Buffered == 0 && n.BufferedBytes != 0 {
		t.Fatalf("the counters do not add up: %+v", n)
	}
	return n
}
