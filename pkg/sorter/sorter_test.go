package sorter

import (
	"bytes"
	"fmt"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

func openEngine(t testing.TB, limit int64) *Engine {
	t.Helper()
	e, err := Open(Config{Dir: filepath.Join(t.TempDir(), "0000"), MemoryLimit: limit, Registerer: prometheus.NewRegistry()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func row(startTs, commitTs uint64, key, value, old string) model.RawChange {
	return model.NewRawChange(startTs, commitTs, []byte(key), []byte(value), []byte(old))
}

func insert(commitTs uint64, key string) model.RawChange {
	return row(commitTs-1, commitTs, key, "v"+key, "")
}

// drain reads everything up to upTo with the given limits and releases it.
func drain(t testing.TB, s *Span, upTo uint64, limits Limits) []model.RawChange {
	t.Helper()
	var got []model.RawChange
	for {
		b, err := s.Next(upTo, limits)
		require.NoError(t, err)
		if b == nil {
			return got
		}
		for i := range b.Rows {
			c := &b.Rows[i]
			got = append(got, model.NewRawChange(c.StartTs, c.CommitTs, c.Key(), c.Value(), c.OldValue()))
		}
		b.Release()
	}
}

func texts(rows []model.RawChange) []string {
	var out []string
	for i := range rows {
		c := &rows[i]
		out = append(out, fmt.Sprintf("%d/%d %s=%s<%s", c.CommitTs, c.StartTs, c.Key(), c.Value(), c.OldValue()))
	}
	return out
}

func TestOrder(t *testing.T) {
	tests := []struct {
		name string
		rows []model.RawChange
		want []string
	}{
		{"none", nil, nil},
		{"by commit-ts", []model.RawChange{insert(30, "a"), insert(10, "c"), insert(20, "b")},
			[]string{"10/9 c=vc<", "20/19 b=vb<", "30/29 a=va<"}},
		{"by start-ts", []model.RawChange{row(8, 10, "a", "1", ""), row(7, 10, "b", "1", "")},
			[]string{"10/7 b=1<", "10/8 a=1<"}},
		{"deletes, updates, inserts", []model.RawChange{row(1, 5, "a", "1", ""), row(1, 5, "b", "1", "0"), row(1, 5, "c", "", "0")},
			[]string{"5/1 c=<0", "5/1 b=1<0", "5/1 a=1<"}},
		{"by key", []model.RawChange{row(1, 5, "b", "1", ""), row(1, 5, "a", "1", "")},
			[]string{"5/1 a=1<", "5/1 b=1<"}},
		{"twice", []model.RawChange{insert(5, "b"), insert(5, "a"), insert(5, "b"), insert(5, "b"), insert(6, "b")},
			[]string{"5/4 a=va<", "5/4 b=vb<", "6/5 b=vb<"}},
		{"above the limit stays", []model.RawChange{insert(101, "b"), insert(100, "a")}, []string{"100/99 a=va<"}},
	}
	for _, test := range tests {
		for _, spilled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, spilled %v", test.name, spilled), func(t *testing.T) {
				e := openEngine(t, 0)
				f := e.NewFeed(math.MaxInt64)
				defer f.Close()
				s := f.NewSpan()
				half := len(test.rows) / 2
				require.NoError(t, s.Add(test.rows[:half]))
				if spilled {
					_, err := e.spillSpans([]*Span{s})
					require.NoError(t, err)
				}
				require.NoError(t, s.Add(test.rows[half:]))
				require.Equal(t, test.want, texts(drain(t, s, 100, Limits{Rows: 10, Bytes: 1 << 20})))
			})
		}
	}
}

func TestTransactionsAreKeptWhole(t *testing.T) {
	for _, spilled := range []bool{false, true} {
		e := openEngine(t, 0)
		f := e.NewFeed(math.MaxInt64)
		defer f.Close()
		s := f.NewSpan()
		for i := range 10 {
			require.NoError(t, s.Add([]model.RawChange{row(1, 10, fmt.Sprint(i), "v", ""), row(11, 20, fmt.Sprint(i), "w", "v")}))
		}
		if spilled {
			_, err := e.spillSpans([]*Span{s})
			require.NoError(t, err)
		}
		b, err := s.Next(100, Limits{Rows: 3, Bytes: 1 << 20, WholeTxns: true})
		require.NoError(t, err)
		require.Len(t, b.Rows, 10)
		require.True(t, b.LastOfTxn)
		b.Release()

		b, err = s.Next(100, Limits{Rows: 3, Bytes: 1 << 20})
		require.NoError(t, err)
		require.Len(t, b.Rows, 3)
		require.False(t, b.LastOfTxn)
		b.Release()

		b, err = s.Next(100, Limits{Rows: 100, Bytes: 1 << 20})
		require.NoError(t, err)
		require.Len(t, b.Rows, 7)
		require.True(t, b.LastOfTxn)
		b.Release()
		b, err = s.Next(100, Limits{Rows: 100, Bytes: 1 << 20})
		require.NoError(t, err)
		require.Nil(t, b)
		require.Zero(t, s.Len())
		require.Zero(t, f.Held())
	}
}

func TestRowBelowTheResolvedTs(t *testing.T) {
	e := openEngine(t, 0)
	f := e.NewFeed(1 << 30)
	defer f.Close()
	s := f.NewSpan()
	require.NoError(t, s.Add([]model.RawChange{insert(10, "a")}))
	require.Len(t, drain(t, s, 50, Limits{Rows: 1, Bytes: 1}), 1)
	require.ErrorIs(t, s.Add([]model.RawChange{insert(50, "a")}), errors.ErrResolvedTsBroken)
	require.NoError(t, s.Add([]model.RawChange{insert(51, "a")}))
}

// history is what the store sends of one span: rows in any order, some of them
// twice, and resolved timestamps between them.
type history struct {
	steps []step
	want  []model.RawChange
}

type step struct {
	rows     []model.RawChange
	resolved uint64
	spill    bool
}

func randomHistory(r *rand.Rand, rows int) history {
	var all []model.RawChange
	for range rows {
		start := uint64(100 + r.Intn(rows*4))
		commit := start + uint64(1+r.Intn(5))
		key := fmt.Sprintf("k%03d", r.Intn(200))
		value := string(bytes.Repeat([]byte{byte('a' + r.Intn(26))}, r.Intn(60)))
		old := string(bytes.Repeat([]byte{byte('A' + r.Intn(26))}, r.Intn(30)))
		if slices.ContainsFunc(all, func(c model.RawChange) bool {
			return c.StartTs == start && c.CommitTs == commit && string(c.Key()) == key
		}) {
			continue
		}
		all = append(all, row(start, commit, key, value, old))
	}
	var h history
	h.want = slices.Clone(all)
	slices.SortFunc(h.want, func(a, b model.RawChange) int { return compareRows(&a, &b) })
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	top := h.want[len(h.want)-1].CommitTs
	for resolved := uint64(100); resolved < top; {
		resolved = min(top, resolved+uint64(1+r.Intn(int(top)/8)))
		var due, later []model.RawChange
		for _, c := range all {
			if c.CommitTs <= resolved || r.Intn(6) == 0 {
				due = append(due, c)
				if r.Intn(10) == 0 {
					due = append(due, c)
				}
				if c.CommitTs > resolved && r.Intn(3) == 0 {
					later = append(later, c) // comes once more
				}
			} else {
				later = append(later, c)
			}
		}
		all = later
		for len(due) > 0 {
			n := min(len(due), 1+r.Intn(100))
			h.steps = append(h.steps, step{rows: due[:n]})
			due = due[n:]
			if r.Intn(4) == 0 {
				h.steps = append(h.steps, step{spill: true})
			}
		}
		h.steps = append(h.steps, step{resolved: resolved})
	}
	return h
}

func (h *history) play(t testing.TB, e *Engine, s *Span, r *rand.Rand, spill bool) []model.RawChange {
	var got []model.RawChange
	for _, st := range h.steps {
		switch {
		case st.spill:
			if spill {
				_, err := e.spillSpans([]*Span{s})
				require.NoError(t, err)
			}
		case st.rows != nil:
			require.NoError(t, s.Add(st.rows))
		default:
			limits := Limits{Rows: 1 + r.Intn(50), Bytes: int64(1 + r.Intn(10000)), WholeTxns: r.Intn(2) == 0}
			for {
				b, err := s.Next(st.resolved, limits)
				require.NoError(t, err)
				if b == nil {
					break
				}
				if spill && r.Intn(8) == 0 {
					_, err := e.spillSpans([]*Span{s})
					require.NoError(t, err)
				}
				for i := range b.Rows {
					c := &b.Rows[i]
					require.LessOrEqual(t, c.CommitTs, st.resolved)
					got = append(got, model.NewRawChange(c.StartTs, c.CommitTs, c.Key(), c.Value(), c.OldValue()))
				}
				b.Release()
			}
		}
	}
	return got
}

func TestRandomHistories(t *testing.T) {
	for seed := range int64(40) {
		h := randomHistory(rand.New(rand.NewSource(seed)), 50+int(seed)*40)
		want := texts(h.want)
		for _, spill := range []bool{false, true} {
			e := openEngine(t, 0)
			f := e.NewFeed(math.MaxInt64)
			s := f.NewSpan()
			require.Equal(t, want, texts(h.play(t, e, s, rand.New(rand.NewSource(seed)), spill)), "seed %d, spill %v", seed, spill)
			require.Zero(t, s.Len())
			require.Zero(t, f.Held())
			require.Zero(t, e.OnDisk())
			f.Close()
		}
	}
}

func TestQuotaIsKept(t *testing.T) {
	tests := []struct {
		name  string
		quota uint64
		limit int64
	}{
		{"quota", 1 << 20, 0},
		{"process limit", math.MaxInt64, 4 << 20},
		{"tiny", 1, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := openEngine(t, test.limit)
			f := e.NewFeed(test.quota)
			defer f.Close()
			const spans, writers, rowsPerWriter = 5, 2, 20000
			value := bytes.Repeat([]byte("x"), 200)
			all := make([]*Span, spans)
			var wg sync.WaitGroup
			for i := range all {
				all[i] = f.NewSpan()
				for w := range writers {
					wg.Go(func() {
						r := rand.New(rand.NewSource(int64(i*writers + w)))
						var rows []model.RawChange
						for n := range rowsPerWriter {
							rows = append(rows, model.NewRawChange(1, uint64(2+r.Intn(1000)), fmt.Appendf(nil, "%d-%d", w, n), value, nil))
							if len(rows) == 50 || n == rowsPerWriter-1 {
								if err := all[i].Add(rows); err != nil {
									t.Error(err)
								}
								rows = rows[:0]
							}
						}
					})
				}
			}
			wg.Wait()
			require.Less(t, f.buffered.Load(), int64(hardSlack+(4<<20)))
			if test.limit > 0 {
				require.LessOrEqual(t, e.budget.peak.Load(), test.limit)
			}
			require.Positive(t, e.OnDisk())
			for _, s := range all {
				require.Len(t, drain(t, s, 2000, Limits{Rows: 1000, Bytes: 1 << 20}), writers*rowsPerWriter)
			}
			require.Zero(t, e.Held())
			require.Zero(t, e.OnDisk())
			files, err := os.ReadDir(e.cfg.Dir)
			require.NoError(t, err)
			require.Empty(t, files)
		})
	}
}

func TestBrokenDiskFailsTheFeed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "0000")
	e, err := Open(Config{Dir: dir})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	require.NoError(t, os.WriteFile(dir, nil, 0o600)) // no directory can be made here
	f := e.NewFeed(1)
	defer f.Close()
	s := f.NewSpan()
	rows := []model.RawChange{model.NewRawChange(1, 2, []byte("k"), make([]byte, 1<<20), nil)}
	var failed error
	for range 1000 {
		if failed = s.Add(rows); failed != nil {
			break
		}
	}
	require.ErrorContains(t, failed, "write rows to disk")
}

// Rows that were on their way to a disk that is full are nowhere any more: the
// span must not look as if it had none.
func TestFullDiskIsNotTakenForEmpty(t *testing.T) {
	e := openEngine(t, 0)
	f := e.NewFeed(math.MaxInt64)
	defer f.Close()
	s, other := f.NewSpan(), f.NewSpan()
	require.NoError(t, s.Add([]model.RawChange{row(1, 2, "k", string(make([]byte, 1<<20)), "")}))
	require.NoError(t, other.Add([]model.RawChange{insert(2, "k")}))
	require.NoError(t, os.MkdirAll(e.cfg.Dir, 0o700))
	require.NoError(t, os.Symlink("/dev/full", filepath.Join(e.cfg.Dir, "00000001.sst")))
	_, err := e.spillSpans([]*Span{s})
	require.ErrorIs(t, err, syscall.ENOSPC)
	for _, span := range []*Span{s, other} {
		require.Positive(t, span.Len())
		b, err := span.Next(100, Limits{Rows: 1, Bytes: 1})
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.Nil(t, b)
	}
	require.ErrorIs(t, other.Add([]model.RawChange{insert(3, "k")}), syscall.ENOSPC)
}

func TestCloseReleasesEverything(t *testing.T) {
	e := openEngine(t, 0)
	f := e.NewFeed(math.MaxInt64)
	s := f.NewSpan()
	require.NoError(t, s.Add([]model.RawChange{insert(5, "a")}))
	_, err := e.spillSpans([]*Span{s})
	require.NoError(t, err)
	require.NoError(t, s.Add([]model.RawChange{insert(6, "a"), insert(7, "b")}))
	b, err := s.Next(6, Limits{Rows: 1, Bytes: 1})
	require.NoError(t, err)
	s.Close()
	require.NoError(t, s.Add([]model.RawChange{insert(8, "a")}))
	next, err := s.Next(100, Limits{Rows: 1, Bytes: 1})
	require.NoError(t, err)
	require.Nil(t, next)
	f.Close()
	require.Positive(t, e.Held(), "the batch is still lent")
	b.Release()
	require.Zero(t, e.Held())
	require.Zero(t, e.OnDisk())
}

func TestOpenWipes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sorter", "0000")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "left.sst"), []byte("x"), 0o600))
	e, err := Open(Config{Dir: dir})
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(dir, "left.sst"))
	require.NoError(t, e.Close())
	_, err = Open(Config{})
	require.Error(t, err)
}

func FuzzDecodeRow(f *testing.F) {
	c := row(1, 2, "key", "value", "old")
	f.Add(appendDiskKey(nil, 7, &c), appendDiskValue(nil, &c))
	f.Add([]byte{}, []byte{})
	f.Add(make([]byte, prefixLen), []byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		c, err := decodeRow(key, value, make([]byte, recordLen(key, value)))
		if err != nil {
			return
		}
		require.True(t, bytes.Equal(key[prefixLen:], c.Key()))
		require.Equal(t, len(key)-prefixLen+len(c.Value())+len(c.OldValue()), recordLen(key, value))
	})
}

// scan is a table's history as an incremental scan delivers it: in key order,
// commit timestamps all over the place, transactions of ten rows.
func scan(rows int) [][]model.RawChange {
	r := rand.New(rand.NewSource(1))
	value := bytes.Repeat([]byte("x"), 200)
	var out [][]model.RawChange
	for i := 0; i < rows; {
		var part []model.RawChange
		for len(part) < 100 && i < rows {
			ts := model.ComposeTSO(1_700_000_000_000+int64(r.Intn(rows/10))*3, 1)
			part = append(part, model.NewRawChange(ts-100, ts, fmt.Appendf(nil, "t12345678_r%08d", i), value, nil))
			i++
		}
		out = append(out, part)
	}
	return out
}

func benchmarkSpan(b *testing.B, spill bool) {
	const rows = 100_000
	parts := scan(rows)
	e := openEngine(b, 0)
	f := e.NewFeed(math.MaxInt64)
	defer f.Close()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		s := f.NewSpan()
		for i, p := range parts {
			if err := s.Add(p); err != nil {
				b.Fatal(err)
			}
			if spill && i%200 == 199 {
				if _, err := e.spillSpans([]*Span{s}); err != nil {
					b.Fatal(err)
				}
			}
		}
		for {
			batch, err := s.Next(math.MaxUint64, Limits{Rows: 512, Bytes: 1 << 20})
			if err != nil {
				b.Fatal(err)
			}
			if batch == nil {
				break
			}
			batch.Release()
		}
		s.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
}

func BenchmarkScanInMemory(b *testing.B) { benchmarkSpan(b, false) }
func BenchmarkScanSpilled(b *testing.B)  { benchmarkSpan(b, true) }

// BenchmarkLive is a table that gets some rows between two resolved timestamps.
func BenchmarkLive(b *testing.B) {
	e := openEngine(b, 0)
	f := e.NewFeed(math.MaxInt64)
	defer f.Close()
	s := f.NewSpan()
	rows := make([]model.RawChange, 20)
	value := bytes.Repeat([]byte("x"), 200)
	for i := range rows {
		rows[i] = model.NewRawChange(1, 1, fmt.Appendf(nil, "t12345678_r%08d", i), value, nil)
	}
	b.ReportAllocs()
	ts := uint64(1)
	for b.Loop() {
		for i := range rows {
			ts++
			rows[i].CommitTs = ts
		}
		_ = s.Add(rows)
		batch, err := s.Next(ts-3, Limits{Rows: 512, Bytes: 1 << 20})
		if err != nil {
			b.Fatal(err)
		}
		batch.Release()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rows)), "ns/row")
}
