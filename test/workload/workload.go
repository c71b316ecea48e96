// Package workload writes random but reproducible changes into an upstream:
// every kind of key, transactions of all sizes, key-changing updates.
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
	"time"

	"github.com/go-sql-driver/mysql"
)

// Spec says what is written.
type Spec struct {
	Schema  string
	Tables  int
	Keys    int64 // size of the key space of each table; default 2,000
	Changes int64 // about how many row changes in all; 0 = until the context ends
	Workers int   // default 4
	Seed    uint64
	// RowBytes is about the size of a row; default 100.
	RowBytes int
	// Pause is what each worker waits after a transaction.
	Pause time.Duration
	// Done, if set, counts the row changes that are committed.
	Done *atomic.Int64
}

// tableKinds are the key layouts; tables take them in turn. All have the same
// columns, so that the same statements fit every one.
func tableKinds() []string {
	const columns = "id BIGINT NOT NULL, u BIGINT NOT NULL, n INT, s VARCHAR(2000), t TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), d DECIMAL(20,4)"
	return []string{
		columns + ", PRIMARY KEY (id) CLUSTERED",
		columns + ", PRIMARY KEY (id) CLUSTERED, UNIQUE KEY uk (u)",
		columns + ", PRIMARY KEY (id) NONCLUSTERED, UNIQUE KEY uk (u)",
		columns + ", PRIMARY KEY (id, u) CLUSTERED",
		columns + ", UNIQUE KEY uid (id)",
		columns + ", PRIMARY KEY (id) CLUSTERED, KEY k (n)) PARTITION BY HASH (id) PARTITIONS 4",
		columns + ", k VARCHAR(40) GENERATED ALWAYS AS (CONCAT('k', id)) STORED, PRIMARY KEY (id) NONCLUSTERED",
		columns + ", v INT GENERATED ALWAYS AS (n + 1) VIRTUAL, PRIMARY KEY (id) CLUSTERED, KEY kv (v)",
	}
}

// TableName returns the name of the i-th table.
func TableName(i int) string { return fmt.Sprintf("t%03d", i) }

// Prepare creates the database and its tables.
func (s Spec) Prepare(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+s.Schema); err != nil {
		return err
	}
	kinds := tableKinds()
	for i := range s.Tables {
		def := kinds[i%len(kinds)]
		if !strings.Contains(def, "PARTITION BY") {
			def += ")"
		}
		stmt := fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s.%s (%s", s.Schema, TableName(i), def)
		if _, err := db.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("%s: %w", stmt, err)
		}
	}
	return nil
}

// Run writes until Changes are done or ctx ends, and returns how many row
// changes were committed. Conflicts and duplicate keys are part of the plan.
func (s Spec) Run(ctx context.Context, db *sql.DB) (int64, error) {
	s = s.withDefaults()
	done := s.Done
	if done == nil {
		done = new(atomic.Int64)
	}
	errs := make([]error, s.Workers)
	var wg sync.WaitGroup
	for w := range s.Workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[w] = s.worker(ctx, db, uint64(w), done)
		}()
	}
	wg.Wait()
	return done.Load(), errors.Join(errs...)
}

func (s Spec) withDefaults() Spec {
	if s.Keys == 0 {
		s.Keys = 2000
	}
	if s.Workers == 0 {
		s.Workers = 4
	}
	if s.RowBytes == 0 {
		s.RowBytes = 100
	}
	return s
}

func (s Spec) worker(ctx context.Context, db *sql.DB, n uint64, done *atomic.Int64) error {
	r := rand.New(rand.NewPCG(s.Seed, n))
	conn, err := db.Conn(ctx)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer func() { _ = conn.Close() }()
	running, release := Outliving(ctx)
	defer release()
	for ctx.Err() == nil && (s.Changes == 0 || done.Load() < s.Changes) {
		changed, err := s.txn(running, conn, r)
		s.rest(ctx)
		if err != nil {
			if !Expected(err) {
				return ignoreEnd(ctx, err)
			}
			continue
		}
		done.Add(changed)
	}
	return nil
}

// rest waits as long as the spec says.
func (s Spec) rest(ctx context.Context) {
	if s.Pause == 0 {
		return
	}
	timer := time.NewTimer(s.Pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// txn runs one transaction of one to many statements over one or two tables.
func (s Spec) txn(ctx context.Context, conn *sql.Conn, r *rand.Rand) (int64, error) {
	begin := "BEGIN PESSIMISTIC"
	if r.IntN(3) == 0 {
		begin = "BEGIN OPTIMISTIC"
	}
	if _, err := conn.ExecContext(ctx, begin); err != nil {
		return 0, err
	}
	var changed int64
	for range 1 + r.IntN(4) {
		res, err := conn.ExecContext(ctx, s.statement(r))
		if err != nil {
			_, _ = conn.ExecContext(ctx, "ROLLBACK")
			return 0, err
		}
		n, _ := res.RowsAffected()
		changed += n
	}
	end := "COMMIT"
	if r.IntN(20) == 0 {
		end, changed = "ROLLBACK", 0
	}
	_, err := conn.ExecContext(ctx, end)
	return changed, err
}

func (s Spec) statement(r *rand.Rand) string {
	table := s.Schema + "." + TableName(r.IntN(s.Tables))
	id := r.Int64N(s.Keys)
	switch k := r.IntN(100); {
	case k < 50:
		return s.insert(r, table)
	case k < 75:
		return fmt.Sprintf("UPDATE %s SET n = %d, s = '%s' WHERE id BETWEEN %d AND %d", table, r.IntN(1e6), s.text(r), id, id+r.Int64N(8))
	case k < 80:
		return fmt.Sprintf("UPDATE IGNORE %s SET u = %d WHERE id = %d", table, r.Int64N(s.Keys*4), id)
	case k < 84:
		return fmt.Sprintf("UPDATE IGNORE %s SET id = %d WHERE id = %d", table, r.Int64N(s.Keys), id)
	default:
		return fmt.Sprintf("DELETE FROM %s WHERE id BETWEEN %d AND %d", table, id, id+r.Int64N(6))
	}
}

func (s Spec) insert(r *rand.Rand, table string) string {
	verb := []string{"INSERT IGNORE", "REPLACE", "INSERT IGNORE"}[r.IntN(3)]
	var b strings.Builder
	fmt.Fprintf(&b, "%s INTO %s (id, u, n, s, d) VALUES ", verb, table)
	rows := 1 + r.IntN(12)
	if r.IntN(50) == 0 {
		rows = 300
	}
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		n := fmt.Sprint(r.IntN(1e6))
		if r.IntN(10) == 0 {
			n = "NULL"
		}
		fmt.Fprintf(&b, "(%d,%d,%s,'%s',%d.%d)", r.Int64N(s.Keys), r.Int64N(s.Keys*4), n, s.text(r), r.IntN(1e9), r.IntN(10000))
	}
	return b.String()
}

// text returns a random string without quotes or backslashes.
func (s Spec) text(r *rand.Rand) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 äß漢😀"
	runes := []rune(letters)
	n := s.RowBytes/2 + r.IntN(s.RowBytes)
	var b strings.Builder
	for b.Len() < n {
		b.WriteRune(runes[r.IntN(len(runes))])
	}
	return b.String()
}

// Expected tells the errors that random concurrent writers run into, DDL
// beside them included: duplicates, conflicts, deadlocks, changed or missing
// tables and columns.
func Expected(err error) bool {
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Number {
	case 1062, 1205, 1213, 9007, 8002, 8022, 8027, 8028, 1146, 1054, 1049, 1051, 8141, 1526, 1136, 1364, 1406, 3140, 1265, 1264, 1366, 1292:
		return true
	case 8229, 9001, 9002, 9003, 9004, 9005: // PD or the store does not answer
		return true
	case 1105: // unclassified: connections between TiDB, PD and store that break
		return true
	}
	return false
}

// Outliving returns a context for the statements of a writer that ends with
// ctx: it gives the last of them 30 s more. A statement whose client goes away
// may be executed all the same, even some time later, so that whoever compares
// both sides would see it on one of them only. release ends the context.
func Outliving(ctx context.Context) (running context.Context, release func()) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(30 * time.Second):
			cancel()
		case <-running.Done():
		}
	})
	return running, func() { stop(); cancel() }
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
