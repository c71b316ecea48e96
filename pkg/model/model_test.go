package model

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTSO(t *testing.T) {
	ts := ComposeTSO(1_700_000_000_123, 77)
	require.Equal(t, int64(1_700_000_000_123), PhysicalMs(ts))
	require.Equal(t, int64(77), Logical(ts))
	require.Equal(t, ComposeTSO(1_700_000_000_123, 0), TSOFromTime(TimeOf(ts)))
	// A vector that the API documents print, at +08:00.
	zone := time.FixedZone("", 8*3600)
	require.Equal(t, "2023-02-27 23:46:52.888", TimeOf(439749918821711874).In(zone).Format("2006-01-02 15:04:05.000"))
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "test-1": true, "A9-b": true, strings.Repeat("x", 128): true,
		"": false, "a_b": false, "-a": false, "a-": false, "a--b": false, "a.b": false,
		"ä": false, "a b": false, strings.Repeat("x", 129): false,
	} {
		require.Equal(t, want, ValidID(id), id)
	}
}

func TestRawChangeWindows(t *testing.T) {
	c := NewRawChange(5, 9, []byte("key"), []byte("value"), []byte("old"))
	require.Equal(t, []byte("key"), c.Key())
	require.Equal(t, []byte("value"), c.Value())
	require.Equal(t, []byte("old"), c.OldValue())
	require.True(t, c.IsUpdate())

	// A caller that appends to a window must not write into the next one.
	_ = append(c.Key(), 'X')
	require.Equal(t, []byte("value"), c.Value())

	rec := []byte("..k...vv....")
	w := RawChangeAt(1, 2, rec, 2, 1, 6, 2, 0, 0)
	require.Equal(t, "k", string(w.Key()))
	require.Equal(t, "vv", string(w.Value()))
	require.True(t, w.IsInsert())
	require.Empty(t, w.OldValue())
}

func TestRawChangeOrder(t *testing.T) {
	del := NewRawChange(1, 10, []byte("a"), nil, []byte("o"))
	upd := NewRawChange(1, 10, []byte("b"), []byte("n"), []byte("o"))
	ins := NewRawChange(1, 10, []byte("c"), []byte("n"), nil)
	later := NewRawChange(2, 10, []byte("d"), nil, []byte("o"))
	last := NewRawChange(1, 11, []byte("e"), nil, []byte("o"))
	got := []RawChange{last, later, ins, upd, del}
	slices.SortFunc(got, func(a, b RawChange) int { return a.Compare(&b) })
	var keys []string
	for i := range got {
		keys = append(keys, string(got[i].Key()))
	}
	require.Equal(t, []string{"a", "b", "c", "d", "e"}, keys)
}

func TestTableSpan(t *testing.T) {
	s := TableSpan(100)
	require.True(t, s.Whole())
	require.Equal(t, -1, bytes.Compare(s.StartKey, s.EndKey))
	id, ok := TableIDOfKey(append(slices.Clone(s.StartKey), 1, 2, 3))
	require.True(t, ok)
	require.Equal(t, int64(100), id)
	_, ok = TableIDOfKey(s.EndKey)
	require.False(t, ok)
	_, ok = TableIDOfKey([]byte("t"))
	require.False(t, ok)
	require.False(t, Span{TableID: 100, StartKey: s.StartKey, EndKey: append(slices.Clone(s.StartKey), 9)}.Whole())
}

func TestAdminJobOfStates(t *testing.T) {
	require.Equal(t, AdminNone, StateNormal.AdminJob())
	require.Equal(t, AdminNone, StateWarning.AdminJob())
	require.Equal(t, AdminStop, StatePending.AdminJob())
	require.Equal(t, AdminStop, StateFailed.AdminJob())
	require.Equal(t, AdminStop, StateStopped.AdminJob())
	require.Equal(t, AdminFinish, StateFinished.AdminJob())
	require.Equal(t, AdminRemove, StateRemoved.AdminJob())
}
