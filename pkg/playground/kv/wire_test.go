package kv

import (
	"bytes"
	"testing"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/stretchr/testify/require"
)

func decodeEvents(t testing.TB, b []byte) *cdcpb.ChangeDataEvent {
	e := &cdcpb.ChangeDataEvent{}
	require.NoError(t, e.Unmarshal(b))
	return e
}

func TestRowsAreWhatTheProtocolSays(t *testing.T) {
	rows := []row{
		{kind: cdcpb.Event_INITIALIZED},
		{
			kind: cdcpb.Event_COMMITTED, op: cdcpb.Event_Row_PUT, startTs: 470611605850161156, commitTs: 470611605851209729,
			source: 1 << 9, key: []byte("key"), value: bytes.Repeat([]byte{1}, 300), oldValue: []byte{0},
		},
		{kind: cdcpb.Event_PREWRITE, op: cdcpb.Event_Row_DELETE, startTs: 1, key: []byte("k")},
		{kind: cdcpb.Event_COMMITTED, op: cdcpb.Event_Row_PUT, key: []byte("large"), value: make([]byte, 3<<20)},
	}
	for _, regionID := range []uint64{1, 1 << 40} {
		var buf eventBuffer
		buf.reset()
		want := &cdcpb.Event_Entries{}
		for i := range rows {
			r := &rows[i]
			buf.add(r)
			want.Entries = append(want.Entries, &cdcpb.Event_Row{
				Type: r.kind, OpType: r.op, StartTs: r.startTs, CommitTs: r.commitTs, TxnSource: r.source,
				Key: r.key, Value: r.value, OldValue: r.oldValue,
			})
		}
		got := decodeEvents(t, buf.finish(regionID, 77))
		require.Equal(t, &cdcpb.ChangeDataEvent{Events: []*cdcpb.Event{
			{RegionId: regionID, RequestId: 77, Event: &cdcpb.Event_Entries_{Entries: want}},
		}}, got)
	}
}

func TestOtherEventsAreWhatTheProtocolSays(t *testing.T) {
	e := &cdcpb.Error{Congested: &cdcpb.Congested{RegionId: 3}}
	b, err := appendErrorEvent(nil, 3, 4, e)
	require.NoError(t, err)
	b = appendResolvedEvent(b, 5, 6, 1<<60)
	b = appendResolvedBatch(b, []uint64{1, 300, 1 << 50}, 1<<60, 9)
	require.Equal(t, &cdcpb.ChangeDataEvent{
		Events: []*cdcpb.Event{
			{RegionId: 3, RequestId: 4, Event: &cdcpb.Event_Error{Error: e}},
			{RegionId: 5, RequestId: 6, Event: &cdcpb.Event_ResolvedTs{ResolvedTs: 1 << 60}},
		},
		ResolvedTs: &cdcpb.ResolvedTs{Regions: []uint64{1, 300, 1 << 50}, Ts: 1 << 60, RequestId: 9},
	}, decodeEvents(t, b))
}

func FuzzRow(f *testing.F) {
	f.Add(uint64(1), uint64(2), uint64(0), []byte("k"), []byte("v"), []byte(nil))
	f.Fuzz(func(t *testing.T, start, commit, source uint64, key, value, old []byte) {
		r := row{
			kind: cdcpb.Event_COMMIT, op: cdcpb.Event_Row_PUT, startTs: start, commitTs: commit, source: source,
			key: key, value: value, oldValue: old,
		}
		var buf eventBuffer
		buf.reset()
		buf.add(&r)
		got := decodeEvents(t, buf.finish(start, commit)).Events[0]
		require.Equal(t, start, got.RegionId)
		require.Equal(t, commit, got.RequestId)
		row := got.Event.(*cdcpb.Event_Entries_).Entries.Entries[0]
		require.Equal(t, []uint64{start, commit, source}, []uint64{row.StartTs, row.CommitTs, row.TxnSource})
		require.True(t, bytes.Equal(key, row.Key) && bytes.Equal(value, row.Value) && bytes.Equal(old, row.OldValue))
	})
}
