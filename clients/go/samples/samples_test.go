package samples

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

type object = map[string]any

// keep is Keep for what has to succeed.
func keep(t *testing.T, folder, eventType string, samples ...any) {
	t.Helper()
	if err := Keep(folder, eventType, samples...); err != nil {
		t.Fatal(err)
	}
}

func mustFail(t *testing.T, err error, with string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), with) {
		t.Fatalf("it should fail with %q, and ends with %v", with, err)
	}
}

func textOf(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func names(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{}
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

func TestOneSampleIsAValueSeveralAreAnArrayAndMembersKeepTheirOrder(t *testing.T) {
	t.Setenv("CI", "")
	folder := filepath.Join(t.TempDir(), "schemas")
	keep(t, folder, "one", struct {
		B int    `json:"b"`
		A string `json:"a"`
	}{1, "<é>"})
	keep(t, folder, "two", object{"b": 1}, object{"b": 2.5})
	if got := textOf(t, folder, "one.sample.json"); got != "{\n  \"b\": 1,\n  \"a\": \"<é>\"\n}\n" {
		t.Errorf("one sample is %s", got)
	}
	if got := textOf(t, folder, "two.sample.json"); got != "[\n  {\n    \"b\": 1\n  },\n  {\n    \"b\": 2.5\n  }\n]\n" {
		t.Errorf("two samples are %s", got)
	}
}

func TestATypeThatNoFileCouldBeNamedAfterHasItsName(t *testing.T) {
	t.Setenv("CI", "")
	folder := t.TempDir()
	for _, eventType := range []string{"inserted in a/b", ".hidden", "é%"} {
		keep(t, folder, eventType, object{"a": 1})
	}
	want := []string{"%2Ehidden.sample.json", "%C3%A9%25.sample.json", "inserted in a%2Fb.sample.json"}
	if got := names(t, folder); !reflect.DeepEqual(got, want) {
		t.Errorf("the files are %q", got)
	}
}

func TestAFileThatSaysTheSameIsLeftAlone(t *testing.T) {
	t.Setenv("CI", "")
	folder := t.TempDir()
	keep(t, folder, "t", object{"a": 1})
	path, before := filepath.Join(folder, "t.sample.json"), time.Unix(1, 0)
	if err := os.Chtimes(path, before, before); err != nil {
		t.Fatal(err)
	}
	keep(t, folder, "t", object{"a": 1})
	if about, err := os.Stat(path); err != nil || !about.ModTime().Equal(before) {
		t.Errorf("it is written: %v, %v", about, err)
	}
}

func TestInCINothingIsWrittenAndWhatDiffersFails(t *testing.T) {
	t.Setenv("CI", "")
	folder := t.TempDir()
	keep(t, folder, "t", object{"a": 1})
	t.Setenv("CI", "true")
	keep(t, folder, "t", object{"a": 1})
	mustFail(t, Keep(folder, "t", object{"a": 2}), "t.sample.json is not the sample of t: run the tests")
	mustFail(t, Keep(folder, "new", object{"a": 2}), "new.sample.json")
	if got := names(t, folder); len(got) != 1 || textOf(t, folder, "t.sample.json") != "{\n  \"a\": 1\n}\n" {
		t.Errorf("it is written: %q", got)
	}
}

func TestAMemberWithoutAValueInAnySampleIsNamed(t *testing.T) {
	t.Setenv("CI", "")
	folder := t.TempDir()
	sample := object{
		"items": []object{{"price": nil}, {"price": 7, "a/b~": []int{}}},
		"buyer": object{"name": ""}, "note": (*string)(nil), "no": false, "zero": 0,
	}
	mustFail(t, Keep(folder, "t", sample), "t: no sample has a value for /buyer/name, /items/*/a~1b~0, /note")
	keep(t, folder, "t", sample, object{"items": []object{{"a/b~": []int{1}}}, "buyer": object{"name": "A"}, "note": "x"})
	keep(t, folder, "empty", object{})
}

func TestWhatIsNoSampleIsRefused(t *testing.T) {
	mustFail(t, Keep(t.TempDir(), "t"), "t: there is no sample")
	for _, sample := range []any{nil, 7, []int{}, "{}", func() {}} {
		mustFail(t, Keep(t.TempDir(), "t", sample), "t: ")
	}
}
