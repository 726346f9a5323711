package dispatchd

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestBytesOfDataAreWhatTheCallerExpects(t *testing.T) {
	for name, of := range map[string]struct {
		data any
		want string
	}{
		"a value is not escaped for HTML":    {map[string]string{"a": "<b>&"}, `{"a":"<b>&"}`},
		"raw bytes stay":                     {json.RawMessage("{ \"n\" : 12.50,\t\"s\":\"\\ud800 <\\u0041>\" }"), "{ \"n\" : 12.50,\t\"s\":\"\\ud800 <\\u0041>\" }"},
		"line feeds between values make way": {json.RawMessage("{\n\"a\":\n1\r\n}\n"), "{ \"a\": 1\r } "},
	} {
		t.Run(name, func(t *testing.T) {
			line, err := encode(7, "id", &Event{Type: "a\"<é", Data: of.data, PartitionKey: "k", ExplicitHashKey: "1", SourceUserID: "u", Envelope: "lk"})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(line), `{"ref":7,"type":"`) || !strings.Contains(string(line), `,"data":`+of.want+`,"options":{"id":"id","partitionKey":"k","explicitHashKey":"1","sourceUserId":"u","envelope":"lk"}}`) ||
				strings.Count(string(line), "\n") != 1 {
				t.Fatalf("the line is %s", line)
			}
			var back struct{ Type string }
			if err := json.Unmarshal(line, &back); err != nil || back.Type != "a\"<é" {
				t.Fatalf("read back: %+v, %v", back, err)
			}
		})
	}
}

func TestDataThatWouldBreakTheLineIsRefusedByTheClient(t *testing.T) {
	for _, data := range []any{
		json.RawMessage(`{`), json.RawMessage(`{},"tx":"t1"`), json.RawMessage(""), json.RawMessage(nil),
		json.RawMessage("{\"a\":\"\xff\"}"), map[string]json.RawMessage{"a": json.RawMessage("\"\xff\"")}, func() {},
	} {
		_, err := encode(1, "id", &Event{Type: "a", Data: data})
		mustFail(t, err, "InvalidRequest", NotStored)
	}
}

func TestAnIDIsARandomUUID(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for i := 0; i < 1000; i++ {
		id := newID()
		if !form.MatchString(id) || seen[id] {
			t.Fatalf("the id is %s", id)
		}
		seen[id] = true
	}
}

// answers of the forms that the daemon writes, and others.
var answers = []string{
	`{"ref":7,"ok":true,"id":"9c0c","timestamp":"2026-01-01T00:00:00.000Z","partitionKey":"customer-9","shardId":"s","sequenceNumber":"4968"}`,
	`{"ref":7,"ok":true,"id":"9c0c","partitionKey":"k\"1é","subSequenceNumber":3,"deduplicated":true,"event":{"id":1}}`,
	`{"ref":18446744073709551615,"ok":true,"staged":true,"id":"9c0c","subSequenceNumber":3,"deduplicated":true}`,
	`{"op":"hello","ok":true,"version":1,"maxEventBytes":1048576,"producerId":"p@host"}`,
	`{"ref":7,"ok":false,"error":{"code":"DeliveryTimeout","message":"late","retryable":true,"outcome":"unknown"}}`,
	`{"op":"commit","tx":"t1","ref":4,"ok":true,"results":[{"ref":1,"ok":true,"id":"9"},{"ref":2,"ok":false,"error":{"code":"R"}}]}`,
	`{"ref":7,"ok":true,"id":"9c0c","timestamp":"t","partitionKey":"é","shardId":"s","sequenceNumber":"4","subSequenceNumber":0,"deduplicated":true}`,
	`{"ref":0,"ok":true}`, `{"ref":07,"ok":true}`, `{"ref":,"ok":true}`, `{"ref":7,"ok":true,"id":"9c0c`, `{"ref":7,"ok":true,"subSequenceNumber":4294967296}`,
	`{"ref":7,"ok":true,"subSequenceNumber":}`, `{"ref":7,"ok":true,"id":"}`,
	`{"ref":"a","ok":true}`, `{"ref":-1,"ok":true}`, `{"ref":1e3}`, `{ "ref":1 }`, `{}`, `7`, `null`, `{"ok":null}`, `{"a":"b","ok":7}`,
}

func TestTheShortWayOfReadingReadsWhatTheLongOneReads(t *testing.T) {
	short := 0
	for _, text := range answers {
		var a answer
		if !a.parseAck([]byte(text)) {
			continue
		}
		short++
		var b answer
		if err := json.Unmarshal([]byte(text), &b); err != nil && !strings.Contains(err.Error(), "cannot unmarshal") {
			t.Fatalf("%v in %s", err, text)
		}
		b.number()
		b.Ref = nil
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s is read as %+v, not %+v", text, a, b)
		}
	}
	if short < 4 {
		t.Fatalf("%d are read the short way", short)
	}
}

// What one way of reading takes for another than the other does would be an ack of an event that is not
// stored, or none of one that is.
func FuzzTheShortWayOfReadingReadsWhatTheLongOneReads(f *testing.F) {
	for _, text := range answers {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var short answer
		taken := short.parseAck([]byte(text))
		if err := new(answer).parse([]byte(text)); (err == nil) != (taken || json.Valid([]byte(text))) {
			t.Fatalf("%q: %v", text, err)
		}
		var long answer
		if !taken || strings.ContainsFunc(text, isNoJSONText) || isAmbiguous(text) {
			return
		}
		if err := json.Unmarshal([]byte(text), &long); err != nil && !strings.Contains(err.Error(), "cannot unmarshal") {
			t.Fatalf("%v in %q", err, text)
		}
		long.number()
		long.Ref = nil
		if !reflect.DeepEqual(short, long) {
			t.Fatalf("%q is read as %+v, not %+v", text, short, long)
		}
	})
}

// isNoJSONText finds what no text of JSON has: the short way takes it, which does no harm.
func isNoJSONText(r rune) bool { return r < ' ' || r == utf8.RuneError }

// isAmbiguous says that a member of a flat object stands there twice, which JSON leaves open, or that
// encoding/json would take it for another, whose letters differ in their case.
func isAmbiguous(text string) bool {
	seen := []string{"op", "ref", "ok", "staged", "id", "timestamp", "partitionKey", "shardId", "sequenceNumber",
		"subSequenceNumber", "deduplicated", "producerId", "error", "results"}
	known := len(seen)
	members := json.NewDecoder(strings.NewReader(text))
	_, _ = members.Token() // the brace
	for members.More() {
		name, _ := members.Token()
		_, _ = members.Token()
		for i, other := range seen {
			if strings.EqualFold(other, name.(string)) && (i >= known || other != name) {
				return true
			}
		}
		seen = append(seen, name.(string))
	}
	return false
}
