package demo

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	pace = 20 * time.Millisecond // between two transactions
	// mostRows bounds what a long demo piles up: above it, deletions are as frequent as insertions.
	mostRows = 5000
)

// tables are created in this order.
var tables = []string{"accounts", "orders", "events"}

var schema = []string{
	"CREATE DATABASE IF NOT EXISTS " + Database,
	"CREATE TABLE IF NOT EXISTS demo.accounts (id BIGINT PRIMARY KEY AUTO_INCREMENT, owner VARCHAR(40) NOT NULL, " +
		"balance DECIMAL(12,2) NOT NULL, changed_at DATETIME(3) NOT NULL)",
	"CREATE TABLE IF NOT EXISTS demo.orders (id BIGINT PRIMARY KEY AUTO_INCREMENT, account_id BIGINT NOT NULL, " +
		"item VARCHAR(40) NOT NULL, price DECIMAL(10,2) NOT NULL, state ENUM('new','paid','sent') NOT NULL, KEY (account_id))",
	"CREATE TABLE IF NOT EXISTS demo.events (id BIGINT PRIMARY KEY AUTO_INCREMENT, what JSON NOT NULL, " +
		"at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6))",
}

// workload writes a modest stream of small transactions.
type workload struct {
	db      *sql.DB
	log     *zap.Logger
	written atomic.Int64 // rows changed
	failed  atomic.Pointer[error]
}

func (w *workload) prepare(ctx context.Context) error {
	for _, stmt := range schema {
		if _, err := w.db.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("demo: prepare the tables: %w", err)
		}
	}
	return nil
}

// run writes until the context ends. A transaction that fails is shown and then forgotten: faults are part of demos.
func (w *workload) run(ctx context.Context) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		rows, err := w.transaction(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			w.log.Warn("the demo's workload failed", zap.Error(err))
			w.failed.Store(&err)
			continue
		}
		w.failed.Store(nil)
		w.written.Add(rows)
	}
}

// transaction changes rows of several tables at once and returns how many.
func (w *workload) transaction(ctx context.Context) (rows int64, err error) {
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
		}
	}()
	for _, s := range statements(w.written.Load() > mostRows) {
		result, err := tx.ExecContext(ctx, s.text, s.args...)
		if err != nil {
			return 0, err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return 0, err
		}
		rows += n
	}
	return rows, tx.Commit()
}

type statement struct {
	text string
	args []any
}

// statements draws the content of one transaction.
func statements(full bool) []statement {
	insert, change := 6, 3 // and the rest of ten delete
	if full {
		insert, change = 4, 2
	}
	switch n := rand.IntN(10); {
	case n < insert:
		return []statement{
			{"INSERT INTO demo.accounts (owner, balance, changed_at) VALUES (?, ?, NOW(3))",
				[]any{pick("Ada", "Grace", "Edsger", "Barbara", "Donald"), rand.IntN(100000)}},
			{"INSERT INTO demo.orders (account_id, item, price, state) VALUES (LAST_INSERT_ID(), ?, ?, 'new')",
				[]any{pick("tea", "coffee", "cake", "book", "lamp"), rand.IntN(5000)}},
			{"INSERT INTO demo.events (what) VALUES (JSON_OBJECT('kind', 'order', 'n', ?))", []any{rand.IntN(1000)}},
		}
	case n < insert+change:
		return []statement{
			{"UPDATE demo.accounts SET balance = balance + ?, changed_at = NOW(3) ORDER BY id DESC LIMIT 1", []any{rand.IntN(100)}},
			{"UPDATE demo.orders SET state = ? ORDER BY id DESC LIMIT 2", []any{pick("paid", "sent")}},
		}
	default:
		return []statement{
			{"DELETE FROM demo.orders ORDER BY id LIMIT 1", nil},
			{"DELETE FROM demo.events ORDER BY id LIMIT 1", nil},
		}
	}
}

func pick(words ...string) string { return words[rand.IntN(len(words))] }
