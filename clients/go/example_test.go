package dispatchd_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/dispatchd/dispatchd/clients/go"
)

var (
	client *dispatchd.Client
	db     *sql.DB
)

func Example() {
	client, err := dispatchd.New(dispatchd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	published, err := client.Publish(ctx, dispatchd.Event{
		Type:         "order.placed",
		Data:         map[string]any{"total": 12.5},
		PartitionKey: "customer-9",
	})
	var refused *dispatchd.Error
	switch {
	case err == nil:
		fmt.Println(published.ID, published.ShardID, published.SequenceNumber)
	case errors.As(err, &refused):
		fmt.Println(refused.Code, refused.Retryable, refused.Outcome)
	}
	if n := client.Close(ctx); n > 0 {
		fmt.Println(n, "events are not confirmed")
	}
}

func ExampleClient_Start() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pending, err := client.Start(ctx, dispatchd.Event{Type: "order.placed", Data: struct{}{}})
	if err != nil {
		log.Fatal(err)
	}
	// Other work comes here.
	published, err := pending.Wait(ctx)
	fmt.Println(published.SequenceNumber, err)
}

func ExampleClient_PublishBatch() {
	events := []dispatchd.Event{
		{Type: "order.placed", Data: struct{}{}},
		{Type: "order.paid", Data: struct{}{}},
	}
	results, err := client.PublishBatch(context.Background(), events)
	if err != nil {
		for i, result := range results {
			fmt.Println(events[i].Type, result.Err)
		}
	}
}

func ExampleClient_Begin() {
	ctx := context.Background()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	events := client.Begin()
	defer events.Rollback()

	id, err := events.Publish(dispatchd.Event{Type: "order.placed", Data: struct{}{}})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (event) VALUES (?)", id); err != nil {
		log.Fatal(err)
	}
	if err := events.Staged(ctx); err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}
	_, err = events.Commit(ctx)
	fmt.Println(err)
}
