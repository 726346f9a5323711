// Package samples keeps the files of sample events that `dispatchd schema generate` makes schemas of.
// It is for an application's tests: one of them calls Keep for each event, so that each has a sample,
// and that sample is complete. The client itself reads and writes no such file.
package samples

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Keep writes folder/type.sample.json, unless it says the same already: then nothing is written. Where
// the environment has CI, it never writes, and fails if the file differs: what was generated is to be
// committed.
//
// A sample is the event's data: what encoding/json makes an object of. The samples have to be complete:
// each member has a value, in at least one of them, from which its schema can be told. null, "", []
// and {} are none; Keep fails with those that lack. Of a field with omitempty it sees nothing where
// encoding/json leaves it out.
func Keep(folder, eventType string, samples ...any) error {
	text, err := encode(samples)
	if err != nil {
		return fmt.Errorf("%s: %w", eventType, err)
	}
	missing, err := withoutValue(samples)
	if err != nil {
		return fmt.Errorf("%s: %w", eventType, err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s: no sample has a value for %s", eventType, strings.Join(missing, ", "))
	}

	path := filepath.Join(folder, fileName(eventType)+".sample.json")
	if kept, err := os.ReadFile(path); err == nil && bytes.Equal(kept, text) {
		return nil
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if os.Getenv("CI") != "" {
		return fmt.Errorf("%s is not the sample of %s: run the tests without CI, and commit it", path, eventType)
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o666)
}

// encode makes the file's text: a sample as a value, or several as an array.
func encode(samples []any) ([]byte, error) {
	var value any = samples
	if len(samples) == 1 {
		value = samples[0]
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(value); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// withoutValue has the members that have a value in no sample, as JSON pointers; * is any element of an
// array.
func withoutValue(samples []any) ([]string, error) {
	hasValue := map[string]bool{}
	for _, sample := range samples {
		text, err := json.Marshal(sample)
		if err != nil {
			return nil, err
		}
		var members map[string]any
		if err := json.Unmarshal(text, &members); err != nil || members == nil {
			return nil, errors.New("a sample is what encoding/json makes an object of")
		}
		look(hasValue, "", members)
	}
	if len(samples) == 0 {
		return nil, errors.New("there is no sample")
	}
	delete(hasValue, "") // an event may have no members
	missing := []string{}
	for path, has := range hasValue {
		if !has {
			missing = append(missing, path)
		}
	}
	sort.Strings(missing)
	return missing, nil
}

// look notes for a value and all members of it whether they have one.
func look(hasValue map[string]bool, path string, value any) {
	has := value != nil && value != ""
	switch value := value.(type) {
	case map[string]any:
		has = len(value) > 0
		for name, member := range value {
			look(hasValue, path+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name), member)
		}
	case []any:
		has = len(value) > 0
		for _, element := range value {
			look(hasValue, path+"/*", element)
		}
	}
	hasValue[path] = has || hasValue[path]
}

// fileName is a type as a file's name: each byte that might not stand in one is written as %XX.
func fileName(eventType string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._- "
	var name strings.Builder
	for i := 0; i < len(eventType); i++ {
		if c := eventType[i]; strings.IndexByte(plain, c) >= 0 && (i > 0 || c != '.') {
			name.WriteByte(c)
		} else {
			fmt.Fprintf(&name, "%%%02X", c)
		}
	}
	return name.String()
}
