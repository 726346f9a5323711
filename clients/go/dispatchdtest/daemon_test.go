package dispatchdtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dispatchd/dispatchd/clients/go"
	"github.com/dispatchd/dispatchd/clients/go/dispatchdtest"
)

func newClient(t *testing.T, daemon *dispatchdtest.Daemon) (*dispatchd.Client, context.Context) {
	t.Helper()
	client, err := dispatchd.New(dispatchd.Options{Socket: daemon.Socket, SourceUserID: "u-1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(func() { client.Close(ctx); cancel() })
	return client, ctx
}

func event(eventType string) dispatchd.Event {
	return dispatchd.Event{Type: eventType, Data: map[string]int{"n": 1}, PartitionKey: "k"}
}

// types are the types of what was published.
func types(daemon *dispatchdtest.Daemon) (types []string) {
	for _, e := range daemon.Events() {
		types = append(types, e.Type)
	}
	return types
}

func expect(t *testing.T, daemon *dispatchdtest.Daemon, want ...string) {
	t.Helper()
	got := types(daemon)
	if len(got) != len(want) {
		t.Fatalf("published is %v, not %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("published is %v, not %v", got, want)
		}
	}
}

func TestWhatIsPublishedCanBeLookedAt(t *testing.T) {
	daemon := dispatchdtest.New(t)
	client, ctx := newClient(t, daemon)
	published, err := client.Publish(ctx, event("a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.PublishBatch(ctx, []dispatchd.Event{event("b"), event("c")}); err != nil {
		t.Fatal(err)
	}
	expect(t, daemon, "a", "b", "c")
	e := daemon.Events()[0]
	if e.ID != published.ID || e.PartitionKey != "k" || e.SourceUserID != "u-1" || string(e.Data) != `{"n":1}` {
		t.Fatalf("the event is %+v", e)
	}
}

func TestTheNextEventIsRefusedOnce(t *testing.T) {
	daemon := dispatchdtest.New(t)
	client, ctx := newClient(t, daemon)
	daemon.RefuseNext("Rejected")
	var refused *dispatchd.Error
	if _, err := client.Publish(ctx, event("a")); !errors.As(err, &refused) || refused.Code != "Rejected" || refused.Retryable {
		t.Fatalf("the error is %v", err)
	}
	daemon.RefuseNext("DeliveryTimeout") // so the client sends it again
	if _, err := client.Publish(ctx, event("b")); err != nil {
		t.Fatal(err)
	}
	expect(t, daemon, "b")
}

func TestATransactionPublishesWithItsCommit(t *testing.T) {
	daemon := dispatchdtest.New(t)
	client, ctx := newClient(t, daemon)
	stage := func(eventType string) *dispatchd.Tx {
		tx := client.Begin()
		if _, err := tx.Publish(event(eventType)); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	tx := stage("a")
	if err := tx.Staged(ctx); err != nil {
		t.Fatal(err)
	}
	expect(t, daemon)
	if _, err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	stage("b").Rollback()
	daemon.RefuseNext("InvalidRequest")
	tx = stage("c")
	if err := tx.Staged(ctx); err == nil {
		t.Fatal("what was refused is staged")
	}
	tx.Rollback()
	tx = stage("d")
	daemon.Cut()
	if _, err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	expect(t, daemon, "a", "d")
}

func TestACutPublishesNothingTwice(t *testing.T) {
	daemon := dispatchdtest.New(t)
	client, ctx := newClient(t, daemon)
	for i := 0; i < 20; i++ {
		p, err := client.Start(ctx, event("a"))
		if err != nil {
			t.Fatal(err)
		}
		daemon.Cut()
		if _, err := p.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(daemon.Events()); got != 20 {
		t.Fatalf("%d events are published", got)
	}
}
