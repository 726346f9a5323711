package dispatchd

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// An Event is what the application wants to have in the stream.
type Event struct {
	// Type is the event's type. It must not be empty.
	Type string
	// Data is the event's content: anything that encoding/json makes an object of. The bytes of a
	// json.RawMessage are published as they are, but for line feeds between its values, which
	// become spaces.
	Data any
	// PartitionKey orders events: those of one key stay in order. Without one, the event's ID is it.
	PartitionKey string
	// ExplicitHashKey is passed to Kinesis. It is a decimal number below 2^128.
	ExplicitHashKey string
	// SourceUserID becomes source.userId of the published event, in place of the client's.
	SourceUserID string
	// ID is a hyphenated UUID of the caller's choice. Without one, the client makes it.
	ID string
	// Envelope is the form that the event is published in, in place of the client's.
	Envelope string
	// Traceparent and Tracestate say which trace the event belongs to (W3C Trace Context).
	Traceparent, Tracestate string
}

// Published is an event as it stands in the stream.
type Published struct {
	ID   string
	Type string
	// Timestamp is when the daemon accepted the event, as it is published: RFC 3339, UTC,
	// milliseconds.
	Timestamp string
	Source    Source
	// ShardID and SequenceNumber say where the event stands. A disabled client leaves them empty.
	ShardID, SequenceNumber string
	// SubSequenceNumber is the event's index in a record that several events share, or nil.
	SubSequenceNumber *int
	// Deduplicated says that the daemon knew the ID, and stored nothing twice.
	Deduplicated bool
}

// Source says whose event it is.
type Source struct {
	// UserID is empty where the published event has null.
	UserID              string
	ProducerID          string
	KinesisPartitionKey string
}

// Result is what became of one event of a batch or of a transaction. Err is an *Error, or nil.
type Result struct {
	Published Published
	Err       error
}

// Settled is what OnSettled is told of an event.
type Settled struct {
	Type string
	// OK says that the event is in the stream. Code says why it is not.
	OK   bool
	Code string
	// Duration is the time from the call to the end.
	Duration time.Duration
	// Resent counts how often the event's line was written again.
	Resent int
}

// Pending is an event that the client has taken on. It ends with an ack or an error.
type Pending struct {
	line
	// done is made when it is first asked for: most callers ask for none. What has ended has
	// closedDone.
	done atomic.Pointer[chan struct{}]
	// admitted is closed when an event is let into the buffer that had to wait for room.
	admitted chan struct{}

	// What the event was when the client got it.
	id, key string
	began   time.Duration
	// deadline is when the event ends with Timeout; 0 while it is staged only.
	deadline time.Duration

	// All that follows changes under the client's lock, until done is closed.
	takenOn, settled bool
	// published has the type and the user from the beginning, and the rest from the ack.
	published Published
	err       *Error
	// sequence counts what has to be confirmed; 0 while the event is staged only.
	sequence uint64
	// inFlight: the line is written and not answered. unknown: an attempt ended without saying
	// whether the event is stored.
	inFlight, unknown bool
	written, refusals int
	// refusal is the last one, and retryAt the end of the wait after it, or 0.
	refusal *Error
	retryAt time.Duration
	// holdsKey: by StrictOrder, later events of the key wait for this one.
	holdsKey bool
	// checked: the daemon has answered the staged line, or will not.
	checked bool
}

// ID returns the event's id, which the client made unless the event had one.
func (p *Pending) ID() string { return p.id }

// closedDone is the channel of all events that have ended, but for those that were asked for one
// before.
var closedDone = func() *chan struct{} {
	done := make(chan struct{})
	close(done)
	return &done
}()

// Done returns a channel that is closed when the event has ended.
func (p *Pending) Done() <-chan struct{} {
	if p.done.Load() == nil {
		done := make(chan struct{})
		p.done.CompareAndSwap(nil, &done)
	}
	return *p.done.Load()
}

// tell says that the event has ended.
func (p *Pending) tell() {
	if done := p.done.Swap(closedDone); done != nil {
		close(*done)
	}
}

// Wait waits for the event's end, and returns the published event or an *Error.
//
// If ctx ends first, Wait returns ctx's error. That is not the end of the event: the client goes on.
func (p *Pending) Wait(ctx context.Context) (Published, error) {
	done := p.Done()
	select {
	case <-done:
		return p.result()
	default:
	}
	select {
	case <-done:
		return p.result()
	case <-ctx.Done():
		return Published{}, fmt.Errorf("dispatchd: event %s is still under way: %w", p.id, ctx.Err())
	}
}

func (p *Pending) result() (Published, error) {
	if p.err != nil {
		return Published{}, p.err
	}
	return p.published, nil
}

// encoders are kept: an encoder and its buffer cost more than what they write.
var encoders = sync.Pool{New: func() any {
	e := &encoder{}
	e.json = json.NewEncoder(e)
	e.json.SetEscapeHTML(false)
	return e
}}

type encoder struct {
	line []byte
	// json writes to line.
	json *json.Encoder
}

// encodersBytesMax is the largest buffer that is kept.
const encodersBytesMax = 64 << 10

// Write is called by the JSON encoder.
func (e *encoder) Write(part []byte) (int, error) {
	e.line = append(e.line, part...)
	return len(part), nil
}

// encode makes the event's line. It is the only time: every sending writes these bytes.
func encode(ref uint64, id string, ev *Event) ([]byte, error) {
	e := encoders.Get().(*encoder)
	e.line = append(e.line[:0], `{"ref":`...)
	e.line = strconv.AppendUint(e.line, ref, 10)
	e.line = append(e.line, `,"type":`...)
	e.line = appendString(e.line, ev.Type)
	e.line = append(e.line, `,"data":`...)
	if err := e.appendData(ev.Data); err != nil {
		return nil, err
	}
	out := append(e.line, `,"options":{"id":`...)
	out = appendString(out, id)
	out = appendOption(out, `,"partitionKey":`, ev.PartitionKey)
	out = appendOption(out, `,"explicitHashKey":`, ev.ExplicitHashKey)
	out = appendOption(out, `,"sourceUserId":`, ev.SourceUserID)
	out = appendOption(out, `,"envelope":`, ev.Envelope)
	out = appendOption(out, `,"traceparent":`, ev.Traceparent)
	out = appendOption(out, `,"tracestate":`, ev.Tracestate)
	e.line = append(out, '}', '}', '\n')
	line := keepLine(e.line)
	if cap(e.line) <= encodersBytesMax {
		encoders.Put(e)
	}
	return line, nil
}

// shortLineBytes is the size of the buffers that are used again for short lines, which most are.
const shortLineBytes = 512

var shortLines = sync.Pool{New: func() any { return new([shortLineBytes]byte) }}

// keepLine is a line of the same bytes, in a buffer of its own.
func keepLine(line []byte) []byte {
	if len(line) > shortLineBytes {
		return bytes.Clone(line)
	}
	return append(shortLines.Get().(*[shortLineBytes]byte)[:0], line...)
}

// dropLine is told that nobody has to do with a line of keepLine any more.
func dropLine(line []byte) {
	if cap(line) == shortLineBytes {
		shortLines.Put((*[shortLineBytes]byte)(line[:shortLineBytes]))
	}
}

// appendData refuses what would break the line: the daemon could not say whose line it was.
func (e *encoder) appendData(data any) error {
	start := len(e.line)
	if raw, ok := data.(json.RawMessage); ok {
		if !json.Valid(raw) {
			return invalid("data is not JSON")
		}
		if bytes.IndexByte(raw, '\n') >= 0 { // JSON has them only between its values
			raw = bytes.ReplaceAll(raw, []byte{'\n'}, []byte{' '})
		}
		e.line = append(e.line, raw...)
	} else {
		if err := e.json.Encode(data); err != nil {
			return invalid("data: %v", err)
		}
		e.line = bytes.TrimSuffix(e.line, []byte{'\n'})
	}
	if !utf8.Valid(e.line[start:]) {
		return invalid("data is not UTF-8")
	}
	return nil
}

func appendOption(out []byte, name, value string) []byte {
	if value == "" {
		return out
	}
	return appendString(append(out, name...), value)
}

// plain has the bytes that stand for themselves in a JSON string.
var plain = func() (plain [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		plain[c] = c != '"' && c != '\\'
	}
	return plain
}()

func appendString(out []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if !plain[s[i]] {
			quoted, _ := json.Marshal(s) // a string always has a form in JSON
			return append(out, quoted...)
		}
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"')
}

// idsAtOnce is for how many ids the system is asked for random bytes at a time.
const idsAtOnce = 32

var randomness = sync.Pool{New: func() any { return &random{} }}

type random struct {
	bytes [16 * idsAtOnce]byte
	// left are the bytes, from the beginning, that are in no id yet.
	left int
}

// newID makes a UUID, version 4.
func newID() string {
	r := randomness.Get().(*random)
	defer randomness.Put(r)
	if r.left == 0 {
		if _, err := rand.Read(r.bytes[:]); err != nil {
			panic("dispatchd: the system has no randomness: " + err.Error())
		}
		r.left = len(r.bytes)
	}
	r.left -= 16
	b := r.bytes[r.left:][:16]
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[:8], b[:4])
	text[8] = '-'
	hex.Encode(text[9:13], b[4:6])
	text[13] = '-'
	hex.Encode(text[14:18], b[6:8])
	text[18] = '-'
	hex.Encode(text[19:23], b[8:10])
	text[23] = '-'
	hex.Encode(text[24:], b[10:])
	return string(text[:])
}
