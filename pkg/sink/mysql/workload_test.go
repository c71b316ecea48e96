package mysql

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// simTable is a table of a simulated upstream: rows by their raw key, and the
// history of changes.
type simTable struct {
	*upstreamTable
	uniques []func([]any) string // the value of each unique key, "" if it has a NULL
	rows    map[string]simRow
	nextID  int64
	history []model.RawChange
}

type simRow struct {
	values []any // id, a, b, s
	rowID  int64
}

// simTables are tables with all kinds of keys over the same columns.
func simTables(t testing.TB) []*simTable {
	const columns = "id INT NOT NULL, a INT, b INT NOT NULL, s VARCHAR(20) COLLATE utf8mb4_general_ci NOT NULL"
	text := func(v any) string { return strings.ToLower(v.(string)) }
	id := func(v []any) string { return fmt.Sprint(v[0]) }
	idText := func(v []any) string { return fmt.Sprint(v[0], text(v[3])) }
	nullable := func(v []any) string {
		if v[1] == nil {
			return ""
		}
		return fmt.Sprint(v[1])
	}
	prefix := func(v []any) string { s := text(v[3]); return fmt.Sprint(v[2], s[:min(2, len(s))]) }
	var out []*simTable
	for i, def := range []struct {
		keys    string
		uniques []func([]any) string
	}{
		{"PRIMARY KEY (id) CLUSTERED", []func([]any) string{id}},
		{"PRIMARY KEY (id) CLUSTERED, UNIQUE KEY (a)", []func([]any) string{id, nullable}},
		{"PRIMARY KEY (id) NONCLUSTERED, UNIQUE KEY (a), UNIQUE KEY (b, s(2))", []func([]any) string{id, nullable, prefix}},
		{"UNIQUE KEY (id), UNIQUE KEY (a)", []func([]any) string{id, nullable}},
		{"PRIMARY KEY (id, s) CLUSTERED, UNIQUE KEY (b, s(2))", []func([]any) string{idText, prefix}},
	} {
		u := newTable(t, int64(100+i), fmt.Sprintf("CREATE TABLE sim.t%d (%s, %s)", i, columns, def.keys))
		out = append(out, &simTable{upstreamTable: u, uniques: def.uniques, rows: map[string]simRow{}})
	}
	return out
}

// txn runs a transaction of a few random statements and appends its net
// changes to the history.
func (s *simTable) txn(r *rand.Rand, commitTs uint64) {
	before := maps.Clone(s.rows)
	for range 1 + r.IntN(6) {
		s.statement(r)
	}
	var changes []model.RawChange
	for _, key := range slices.Sorted(maps.Keys(before)) {
		old := before[key]
		row, ok := s.rows[key]
		switch {
		case !ok:
			changes = append(changes, s.change(commitTs, old.rowID, old.values, nil))
		case !slices.Equal(old.values, row.values):
			changes = append(changes, s.change(commitTs, row.rowID, old.values, row.values))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.rows)) {
		if _, ok := before[key]; !ok {
			changes = append(changes, s.change(commitTs, s.rows[key].rowID, nil, s.rows[key].values))
		}
	}
	slices.SortStableFunc(changes, func(a, b model.RawChange) int { return a.Compare(&b) })
	s.history = append(s.history, changes...)
}

func (s *simTable) statement(r *rand.Rand) {
	values := []any{r.IntN(40), any(r.IntN(40)), r.IntN(10), []string{"", "a", "A", "Ab", "aB", "abc", "ABD", "z"}[r.IntN(8)]}
	if r.IntN(5) == 0 {
		values[1] = nil
	}
	keys := slices.Sorted(maps.Keys(s.rows))
	if len(keys) == 0 || r.IntN(10) < 5 {
		s.nextID++
		s.put(simRow{values, s.nextID}, "")
		return
	}
	key := keys[r.IntN(len(keys))]
	old := s.rows[key]
	if r.IntN(3) == 0 {
		delete(s.rows, key)
		return
	}
	changed := slices.Clone(old.values)
	for range 1 + r.IntN(2) {
		i := r.IntN(4)
		changed[i] = values[i]
	}
	s.put(simRow{changed, old.rowID}, key)
}

// put writes a row in place of the one at key, unless it breaks a unique key.
func (s *simTable) put(row simRow, replaces string) {
	for _, unique := range s.uniques {
		for key, other := range s.rows {
			if v := unique(row.values); key != replaces && v != "" && v == unique(other.values) {
				return
			}
		}
	}
	key := string(s.Key(row.rowID, row.values))
	if replaces != "" {
		delete(s.rows, replaces)
	}
	s.rows[key] = row
}

func (s *simTable) contents() []string {
	var out []string
	for _, row := range s.rows {
		parts := make([]string, len(row.values))
		for i, v := range row.values {
			if parts[i] = fmt.Sprint(v); v == nil {
				parts[i] = "NULL"
			}
		}
		out = append(out, strings.Join(parts, "|"))
	}
	slices.Sort(out)
	return out
}

// run replicates the history from a position with a sink that may be closed
// in the middle, and returns the highest contiguous position that is durable.
func (s *simTable) run(ctx context.Context, k sink.Sink, from, to int, replicateTs uint64, wholeTxns bool, r *rand.Rand) int {
	var mu sync.Mutex
	var wg sync.WaitGroup
	acked := map[int]int{}
	position := from
	for from < to {
		end := min(from+1+r.IntN(40), to)
		for wholeTxns && end < to && sameTxn(&s.history[end-1], &s.history[end]) {
			end++
		}
		start := from
		wg.Add(1)
		err := k.Write(ctx, &model.RowBatch{
			TableID: s.info.ID, Table: s.table, Rows: s.history[start:end], ReplicateTs: replicateTs,
			LastOfTxn: end == len(s.history) || s.history[end].CommitTs != s.history[end-1].CommitTs,
			Done: func(err error) {
				defer wg.Done()
				if err == nil {
					mu.Lock()
					defer mu.Unlock()
					acked[start] = end
				}
			},
		})
		if err != nil { // closed, or broken
			wg.Done()
			break
		}
		from = end
	}
	wg.Wait()
	for end, ok := acked[position]; ok; end, ok = acked[position] {
		position = end
	}
	return position
}

// TestRandomWorkload replays random histories, with sinks that are closed in
// the middle and resume from what they acknowledged.
func TestRandomWorkload(t *testing.T) {
	for name, parameters := range map[string]string{
		"default":      "worker-count=4&max-txn-row=20",
		"whole txns":   "worker-count=4&max-txn-row=20&transaction-atomicity=table",
		"one by one":   "worker-count=3&multi-stmt-enable=false",
		"single rows":  "worker-count=3&batch-dml-enable=false",
		"safe mode":    "worker-count=4&safe-mode=true",
		"many workers": "worker-count=16&max-txn-row=3",
	} {
		t.Run(name, func(t *testing.T) {
			addr, db := downstream(t, "sim")
			r := rand.New(rand.NewPCG(1, uint64(len(name))))
			tables := simTables(t)
			for _, s := range tables {
				execAll(t, db, s.ddl)
				for ts := uint64(10); ts < 1500; ts += 1 + r.Uint64N(4) {
					s.txn(r, ts)
				}
			}
			position := make([]int, len(tables))
			reached := make([]uint64, len(tables)) // rows up to there have been handed over
			finished := func() bool {
				for i, s := range tables {
					if position[i] < len(s.history) {
						return false
					}
				}
				return true
			}
			for round := 0; !finished(); round++ {
				require.Less(t, round, 100)
				k := openSink(t, addr, parameters)
				var wg sync.WaitGroup
				for i, s := range tables {
					to := len(s.history)
					if round < 3 {
						to = min(to, position[i]+200)
					}
					rnd := rand.New(rand.NewPCG(uint64(round), uint64(i)))
					wg.Add(1)
					go func() {
						defer wg.Done()
						from := position[i]
						position[i] = s.run(t.Context(), k, from, to, reached[i], strings.Contains(parameters, "atomicity=table"), rnd)
						reached[i] = max(reached[i], s.history[to-1].CommitTs)
					}()
				}
				if round < 3 {
					require.Eventually(t, func() bool {
						return k.running.Load() && k.workers[0].done.Load() > uint64(1+r.IntN(5)) || k.broken() != nil
					}, 10*time.Second, time.Millisecond)
					k.Close()
				}
				wg.Wait()
				k.Close()
				require.ErrorIs(t, k.broken(), context.Canceled, "also where rows took unique values from each other")
			}
			for i, s := range tables {
				require.Equal(t, s.contents(), sorted(contents(t, db, fmt.Sprintf("SELECT * FROM sim.t%d", i))), s.ddl)
			}
		})
	}
}

func sorted(s []string) []string { slices.Sort(s); return s }
