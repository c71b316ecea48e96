package kv

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
	"github.com/stretchr/testify/require"
)

func readJournal(t *testing.T, path string) (*journal, []string) {
	var records []string
	j, err := openJournal(path, func(record []byte) error {
		records = append(records, string(record))
		return nil
	})
	require.NoError(t, err)
	return j, records
}

func appendString(t *testing.T, j *journal, s string) {
	require.NoError(t, j.append(append(j.begin(), s...)))
}

func TestJournalSurvivesTornWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, records := readJournal(t, path)
	require.Empty(t, records)
	appendString(t, j, "one")
	appendString(t, j, "")
	appendString(t, j, "three")
	require.NoError(t, j.close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)

	for cut := range len(whole) {
		require.NoError(t, os.WriteFile(path, whole[:cut], 0o600))
		j, records := readJournal(t, path)
		require.Subset(t, []string{"one", "", "three"}, records)
		appendString(t, j, "after")
		require.NoError(t, j.close())
		_, again := readJournal(t, path)
		require.Equal(t, append(records, "after"), again)
	}
	damaged := bytes.Clone(whole)
	damaged[len(damaged)-1] ^= 1
	require.NoError(t, os.WriteFile(path, damaged, 0o600))
	_, records = readJournal(t, path)
	require.Equal(t, []string{"one", ""}, records)
}

func TestJournalRewrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, _ := readJournal(t, path)
	for i := range 100 {
		appendString(t, j, fmt.Sprint(i))
	}
	size := j.size
	require.NoError(t, j.rewrite(func(emit func([]byte) error) error {
		return emit([]byte("all"))
	}))
	require.Less(t, j.size, size)
	appendString(t, j, "more")
	require.Error(t, j.rewrite(func(func([]byte) error) error { return os.ErrInvalid }))
	appendString(t, j, "still")
	require.NoError(t, j.close())
	_, records := readJournal(t, path)
	require.Equal(t, []string{"all", "more", "still"}, records)
}

func FuzzJournal(f *testing.F) {
	record := append(make([]byte, journalHeader), "record"...)
	sealRecord(record)
	f.Add(record)
	f.Add(append(bytes.Clone(record), record[:9]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		size, err := readRecords(bytes.NewReader(data), func([]byte) error { return nil })
		require.NoError(t, err)
		require.LessOrEqual(t, size, int64(len(data)))
	})
}

func FuzzLockRecord(f *testing.F) {
	lock := (&mvcc.Lock{Primary: []byte("p"), Value: []byte("v")}).MarshalBinary()
	f.Add(appendLockDelete(appendLockPut(nil, []byte("k"), lock, txnInfo{}), []byte("x")))
	f.Add(appendLockPut(nil, []byte("k"), lock, txnInfo{source: 3, pipelined: true}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var again []byte
		err := parseLockRecord(data, func(key, lock []byte, info txnInfo) {
			if lock == nil {
				again = appendLockDelete(again, key)
			} else {
				again = appendLockPut(again, key, lock, info)
			}
		})
		if err == nil {
			require.NoError(t, parseLockRecord(again, func([]byte, []byte, txnInfo) {}))
		}
	})
}

func FuzzRegionRecord(f *testing.F) {
	record, err := appendRegionPut(nil, &metapb.Region{Id: 3, StartKey: encodeKey([]byte("t"))}, regionSize{1, 2})
	require.NoError(f, err)
	f.Add(appendRegionDelete(record, 7))
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = parseRegionRecord(data, func(*metapb.Region, regionSize) error { return nil }, func(uint64) {})
	})
}

func TestRecordsComeBack(t *testing.T) {
	lock := (&mvcc.Lock{LockHdr: mvcc.LockHdr{StartTS: 5, TTL: 3, Op: 1}, Primary: []byte("p")}).MarshalBinary()
	record := appendLockPut(nil, []byte("a"), lock, txnInfo{})
	record = appendLockPut(record, []byte("b"), lock, txnInfo{source: 1, pipelined: true})
	record = appendLockDelete(record, []byte("c"))
	var got []string
	require.NoError(t, parseLockRecord(record, func(key, l []byte, info txnInfo) {
		got = append(got, fmt.Sprintln(string(key), bytes.Equal(l, lock), lockHeader(l).StartTS, info.source, info.pipelined))
	}))
	require.Equal(t, []string{"a true 5 0 false\n", "b true 5 1 true\n", "c false 0 0 false\n"}, got)
	require.ErrorIs(t, parseLockRecord(record[:len(record)-1], func([]byte, []byte, txnInfo) {}), errLockRecord)
}
