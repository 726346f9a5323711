package dispatchd

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// answer is one line of the daemon's. Fields that it does not have are zero.
type answer struct {
	Op  string          `json:"op"`
	Ref json.RawMessage `json:"ref"`
	OK  bool            `json:"ok"`
	// Staged says that the event is held until the commit.
	Staged bool `json:"staged"`

	ID                string `json:"id"`
	Timestamp         string `json:"timestamp"`
	PartitionKey      string `json:"partitionKey"`
	ShardID           string `json:"shardId"`
	SequenceNumber    string `json:"sequenceNumber"`
	SubSequenceNumber *int   `json:"subSequenceNumber"`
	Deduplicated      bool   `json:"deduplicated"`

	ProducerID string   `json:"producerId"`
	Error      *refusal `json:"error"`
	Results    []answer `json:"results"`

	// ref is Ref as a number, or 0 if there is none.
	ref uint64
}

// refusal is what the daemon says of what it did not do.
type refusal struct {
	Code      string  `json:"code"`
	Message   string  `json:"message"`
	Retryable bool    `json:"retryable"`
	Outcome   Outcome `json:"outcome"`
}

// parse reads a line. It fails only if the line is not JSON.
func (a *answer) parse(text []byte) error {
	// The texts of an ack are parts of one string.
	if a.parseAck(string(text)) {
		return nil
	}
	*a = answer{}
	var wrongType *json.UnmarshalTypeError
	if err := json.Unmarshal(text, a); err != nil && !errors.As(err, &wrongType) {
		return err
	}
	a.number()
	return nil
}

func (a *answer) number() {
	if n, err := strconv.ParseUint(string(a.Ref), 10, 64); err == nil {
		a.ref = n
	}
	for i := range a.Results {
		a.Results[i].number()
	}
}

// parseAck reads the lines of which there are many: an object without white space, of texts without
// escapes, whole numbers and truth values. It says no to all others. (0.2 µs, against 3 µs through
// encoding/json.)
func (a *answer) parseAck(s string) bool {
	if s == "" || s[0] != '{' || strings.IndexByte(s, '\\') >= 0 {
		return false
	}
	for {
		var key, text, bare string
		var ok bool
		if key, s, ok = cutText(s[1:]); !ok || s == "" || s[0] != ':' {
			return false
		}
		if s = s[1:]; s != "" && s[0] == '"' {
			if text, s, ok = cutText(s); !ok {
				return false
			}
		} else {
			end := 0
			for end < len(s) && s[end] != ',' && s[end] != '}' {
				end++
			}
			if bare, s = s[:end], s[end:]; bare != "true" && bare != "false" && !isWhole(bare) {
				return false
			}
		}
		switch key {
		case "op":
			a.Op = text
		case "ref":
			a.ref, _ = strconv.ParseUint(bare, 10, 64)
		case "ok":
			a.OK = bare == "true"
		case "staged":
			a.Staged = bare == "true"
		case "id":
			a.ID = text
		case "timestamp":
			a.Timestamp = text
		case "partitionKey":
			a.PartitionKey = text
		case "shardId":
			a.ShardID = text
		case "sequenceNumber":
			a.SequenceNumber = text
		case "subSequenceNumber":
			if n, err := strconv.Atoi(bare); err == nil {
				a.SubSequenceNumber = &n
			}
		case "deduplicated":
			a.Deduplicated = bare == "true"
		case "producerId":
			a.ProducerID = text
		}
		if s == "}" {
			return true
		}
		if s == "" || s[0] != ',' {
			return false
		}
	}
}

// cutText cuts a text from the beginning of s, which has no escapes.
func cutText(s string) (text, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", s, false
	}
	end := strings.IndexByte(s[1:], '"') + 1
	if end < 1 {
		return "", s, false
	}
	return s[1:end], s[end+1:], true
}

func isWhole(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s == "0" || s != "" && s[0] != '0'
}

// toError makes the caller's error of a refusal. maybeStored says that an earlier attempt may have
// stored the event.
func (r *refusal) toError(maybeStored bool) *Error {
	outcome := r.Outcome
	switch {
	case maybeStored:
		outcome = Unknown
	case outcome == NotStored || outcome == Unknown:
	case !r.Retryable || r.Code == "Overloaded" || r.Code == "TransactionEnded":
		outcome = NotStored
	default:
		outcome = Unknown
	}
	return &Error{Code: r.Code, Message: r.Message, Retryable: r.Retryable, Outcome: outcome}
}
