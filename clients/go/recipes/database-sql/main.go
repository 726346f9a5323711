// Publish after commit with database/sql: what the database has committed is published, and what it
// has rolled back is not. inTx is the recipe; main tries it, with SQLite.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/dispatchd/dispatchd/clients/go"
	_ "modernc.org/sqlite"
)

// inTx does work in a transaction of the database. The events that it publishes are in the stream if
// the database has committed.
//
// An error that is an *unpublished comes after the commit of the database.
func inTx(ctx context.Context, db *sql.DB, client *dispatchd.Client, work func(*sql.Tx, *dispatchd.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing to do after the commit
	events := client.Begin()
	defer events.Rollback()

	if err := work(tx, events); err != nil {
		return err
	}
	// An event that would be refused is found while the database can still be rolled back.
	if err := events.Staged(ctx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	// The database has committed: that the caller has gone is no reason to publish nothing. The
	// client's own timeout bounds this call.
	if _, err := events.Commit(context.WithoutCancel(ctx)); err != nil {
		return &unpublished{err}
	}
	return nil
}

// unpublished says that the database has committed and that events are missing: its BatchError has
// their ids and reasons. An application that cannot lose one writes them into a table instead.
type unpublished struct{ err error }

func (u *unpublished) Error() string { return "committed, but not published: " + u.err.Error() }
func (u *unpublished) Unwrap() error { return u.err }

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // each connection to :memory: is a database of its own
	if _, err := db.ExecContext(ctx, "CREATE TABLE orders (id INTEGER PRIMARY KEY, event TEXT NOT NULL)"); err != nil {
		return err
	}
	client, err := dispatchd.New(dispatchd.Options{})
	if err != nil {
		return err
	}
	defer client.Close(ctx)

	place := func(eventType string, then error) error {
		return inTx(ctx, db, client, func(tx *sql.Tx, events *dispatchd.Tx) error {
			id, err := events.Publish(dispatchd.Event{Type: eventType, Data: map[string]string{"recipe": "database-sql"}})
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO orders (event) VALUES (?)", id); err != nil {
				return err
			}
			return then
		})
	}
	for range 3 {
		if err := place("order.placed", nil); err != nil {
			return err
		}
	}
	soldOut := errors.New("sold out")
	if err := place("order.placed", soldOut); err != soldOut {
		return fmt.Errorf("an order that was rolled back ends with %v", err)
	}
	var refused *dispatchd.Error
	if err := place("", nil); !errors.As(err, &refused) || refused.Code != "InvalidRequest" {
		return fmt.Errorf("an event without a type ends with %v", err)
	}

	// What is in the database is what has to be in the stream.
	rows, err := db.QueryContext(ctx, "SELECT event FROM orders ORDER BY id")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		fmt.Println(id)
	}
	return rows.Err()
}
