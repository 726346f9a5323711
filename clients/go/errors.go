package dispatchd

import (
	"errors"
	"fmt"
)

// Codes that only a client makes. The daemon's codes stand in docs/protocol.md.
const (
	// CodeTimeout says that the call's timeout ended first.
	CodeTimeout = "Timeout"
	// CodeClosed says that the client was closed first.
	CodeClosed = "Closed"
	// CodeBufferFull says that TryPublish or Tx.Publish found the buffer full.
	CodeBufferFull = "BufferFull"
)

// Targets for errors.Is. Each is like every Error with its code.
var (
	ErrTimeout    error = &Error{Code: CodeTimeout}
	ErrClosed     error = &Error{Code: CodeClosed}
	ErrBufferFull error = &Error{Code: CodeBufferFull}
)

// ErrTxDone is returned by a transaction that was committed or rolled back already.
var ErrTxDone = errors.New("dispatchd: the transaction has been committed or rolled back")

// Outcome is what is known of an event that was not acked.
type Outcome string

const (
	// NotStored says that the event is certainly not in the stream.
	NotStored Outcome = "not_stored"
	// Unknown says that an attempt may have stored the event. Sent again with the same ID, the
	// event is stored once.
	Unknown Outcome = "unknown"
)

// Error says why an event was not published.
type Error struct {
	// Code is the daemon's code, or one of the client's own.
	Code string
	// Message says what was wrong, for people.
	Message string
	// Retryable says that the same event may be published later.
	Retryable bool
	// Outcome says whether the event may be in the stream all the same.
	Outcome Outcome

	cause error
}

func (e *Error) Error() string { return "dispatchd: " + e.Code + ": " + e.Message }

// Unwrap returns the error of the context that ended the call, if one did.
func (e *Error) Unwrap() error { return e.cause }

// Is makes ErrTimeout, ErrClosed and ErrBufferFull work with errors.Is.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Code == e.Code
}

// BatchError says that events of a batch or of a transaction were not published.
type BatchError struct {
	// Results has a result for each event, in the order of the events.
	Results []Result
}

func (e *BatchError) Error() string {
	errs := e.Unwrap()
	return fmt.Sprintf("%d of %d events were not published, the first: %v", len(errs), len(e.Results), errs[0])
}

// Unwrap returns the errors of the events that failed, in the order of the events.
func (e *BatchError) Unwrap() []error {
	var errs []error
	for _, r := range e.Results {
		if r.Err != nil {
			errs = append(errs, r.Err)
		}
	}
	return errs
}

func invalid(format string, args ...any) *Error {
	return &Error{Code: "InvalidRequest", Message: fmt.Sprintf(format, args...), Outcome: NotStored}
}
