package workload

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
)

// A round of a bulk load inserts, changes and deletes this many rows, each
// kind in one transaction: 60, 30 and 10 of a hundred changes.
const (
	roundInserts = 600
	roundUpdates = 300
	roundDeletes = 100
	roundChanges = roundInserts + roundUpdates + roundDeletes
	roundLeft    = roundInserts - roundDeletes
)

// Bulk is a load that is quick to write and whose outcome is known: rounds of
// a multi-row insert, an update and a delete by key range.
type Bulk struct {
	Schema  string
	Tables  int
	Changes int // in all; rounded down to whole rounds of 1,000 per table
	Workers int // default 4
	// TextBytes is how long the text of each row is; default 160, which makes
	// rows of about 200 bytes.
	TextBytes int
}

func (b Bulk) textBytes() int {
	if b.TextBytes == 0 {
		return 160
	}
	return b.TextBytes
}

// rounds is how many rounds each table gets.
func (b Bulk) rounds() int { return b.Changes / roundChanges / b.Tables }

// Total is how many row changes Run writes.
func (b Bulk) Total() int { return b.rounds() * roundChanges * b.Tables }

// RowsLeft is how many rows each table holds afterwards.
func (b Bulk) RowsLeft() int { return b.rounds() * roundLeft }

// Prepare creates the database and its empty tables.
func (b Bulk) Prepare(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+b.Schema); err != nil {
		return err
	}
	for i := range b.Tables {
		_, err := db.ExecContext(ctx, fmt.Sprintf("CREATE TABLE %s.%s (id BIGINT PRIMARY KEY, n INT NOT NULL, "+
			"t DATETIME(3) NOT NULL, d DECIMAL(12,2) NOT NULL, s VARCHAR(%d) NOT NULL)", b.Schema, TableName(i), b.textBytes()+40))
		if err != nil {
			return err
		}
	}
	return nil
}

// Run writes everything. The workers take rounds of all tables in turn.
func (b Bulk) Run(ctx context.Context, db *sql.DB) error {
	if b.Workers == 0 {
		b.Workers = 4
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, b.Workers)
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range b.Workers {
		wg.Go(func() {
			if errs[w] = b.worker(ctx, db, uint64(w), &next); errs[w] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (b Bulk) worker(ctx context.Context, db *sql.DB, seed uint64, next *atomic.Int64) error {
	r := rand.New(rand.NewPCG(seed, 1))
	total := int64(b.rounds() * b.Tables)
	for {
		n := next.Add(1) - 1
		if n >= total {
			return nil
		}
		table := b.Schema + "." + TableName(int(n)%b.Tables)
		first := n / int64(b.Tables) * roundInserts
		if err := b.round(ctx, db, r, table, first); err != nil {
			return fmt.Errorf("%s from %d: %w", table, first, err)
		}
	}
}

// round writes one round of a table; its rows begin at key first.
func (b Bulk) round(ctx context.Context, db *sql.DB, r *rand.Rand, table string, first int64) error {
	for _, stmt := range []string{
		b.insert(r, table, first),
		fmt.Sprintf("UPDATE %s SET n = n + 1, s = REVERSE(s) WHERE id BETWEEN %d AND %d", table, first, first+roundUpdates-1),
		fmt.Sprintf("DELETE FROM %s WHERE id BETWEEN %d AND %d", table, first+roundInserts-roundDeletes, first+roundInserts-1),
	} {
		if _, err := db.ExecContext(ctx, stmt); err != nil {
			return err
		}
	}
	return nil
}

// insert makes the rows of a round.
func (b Bulk) insert(r *rand.Rand, table string, first int64) string {
	text := make([]byte, b.textBytes())
	var out strings.Builder
	out.Grow(roundInserts * (len(text) + 60))
	fmt.Fprintf(&out, "INSERT INTO %s VALUES ", table)
	for i := range int64(roundInserts) {
		for j := range text {
			text[j] = byte('a' + r.IntN(26))
		}
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, "(%d,%d,'2026-01-02 03:04:05.678',%d.25,'%s')", first+i, r.IntN(1e9), r.IntN(1e9), text)
	}
	return out.String()
}
