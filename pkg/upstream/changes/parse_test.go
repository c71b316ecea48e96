package changes

import (
	"testing"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/stretchr/testify/require"
)

// sampleMessages are messages of every kind that the store sends.
func sampleMessages() []*cdcpb.ChangeDataEvent {
	rows := &cdcpb.Event_Entries_{Entries: &cdcpb.Event_Entries{Entries: []*cdcpb.Event_Row{
		{StartTs: 449_000_000_000_000_001, CommitTs: 449_000_000_000_000_009, Type: cdcpb.Event_COMMITTED,
			OpType: cdcpb.Event_Row_PUT, Key: []byte("t_r1"), Value: []byte("new"), OldValue: []byte("old")},
		{StartTs: 1, Type: cdcpb.Event_PREWRITE, OpType: cdcpb.Event_Row_DELETE, Key: []byte("k"), Generation: 3, TxnSource: 1, ExpireTsUnixSecs: 7},
		{Type: cdcpb.Event_INITIALIZED},
	}}}
	return []*cdcpb.ChangeDataEvent{
		{},
		{Events: []*cdcpb.Event{{RegionId: 12, Index: 4, RequestId: 300, Event: rows}, {RegionId: 13}}},
		{Events: []*cdcpb.Event{{RegionId: 1 << 60, RequestId: 2, Event: &cdcpb.Event_ResolvedTs{ResolvedTs: 99}}}},
		{Events: []*cdcpb.Event{{RegionId: 5, Event: &cdcpb.Event_Error{Error: &cdcpb.Error{DuplicateRequest: &cdcpb.DuplicateRequest{RegionId: 5}}}}}},
		{Events: []*cdcpb.Event{{RegionId: 5, Event: &cdcpb.Event_Admin_{Admin: &cdcpb.Event_Admin{}}}}},
		{Events: []*cdcpb.Event{{RegionId: 5, Event: &cdcpb.Event_LongTxn_{LongTxn: &cdcpb.Event_LongTxn{TxnInfo: []*cdcpb.TxnInfo{{StartTs: 1}}}}}}},
		{ResolvedTs: &cdcpb.ResolvedTs{Regions: []uint64{1, 200, 1 << 40}, Ts: 449_000_000_000_000_000, RequestId: 8}},
	}
}

// requireSame compares what our parser and the generated code see in data.
func requireSame(t *testing.T, want *cdcpb.ChangeDataEvent, data []byte) {
	t.Helper()
	var m wireMessage
	require.NoError(t, m.parse(data))
	require.Equal(t, want.GetResolvedTs().GetTs(), m.resolved.ts)
	require.Equal(t, want.GetResolvedTs().GetRequestId(), m.resolved.request)
	require.ElementsMatch(t, want.GetResolvedTs().GetRegions(), m.resolved.regions)
	require.Len(t, m.events, len(want.Events))
	for i, e := range want.Events {
		got := &m.events[i]
		require.Equal(t, e.RegionId, got.region)
		require.Equal(t, e.RequestId, got.request)
		switch e.Event.(type) {
		case nil:
			require.Equal(t, eventNone, got.kind)
		case *cdcpb.Event_Entries_:
			require.Equal(t, eventRows, got.kind)
			requireSameRows(t, e.GetEntries().Entries, got.body)
		case *cdcpb.Event_ResolvedTs:
			require.Equal(t, eventResolved, got.kind)
			//lint:ignore SA1019 old stores send it
			require.Equal(t, e.GetResolvedTs(), got.resolvedTs)
		case *cdcpb.Event_Error:
			require.Equal(t, eventError, got.kind)
			var parsed cdcpb.Error
			require.NoError(t, parsed.Unmarshal(got.body))
			require.Equal(t, e.GetError().String(), parsed.String())
		default:
			require.Equal(t, eventOther, got.kind)
		}
	}
}

func requireSameRows(t *testing.T, want []*cdcpb.Event_Row, entries []byte) {
	t.Helper()
	var r wireRow
	for _, w := range want {
		rest, ok, err := nextRow(entries, &r)
		require.NoError(t, err)
		require.True(t, ok)
		entries = rest
		require.Equal(t, w.StartTs, r.startTs)
		require.Equal(t, w.CommitTs, r.commitTs)
		require.Equal(t, w.Generation, r.generation)
		require.Equal(t, int32(w.Type), int32(r.typ))
		require.Equal(t, int32(w.OpType), int32(r.op))
		c := r.change(w.CommitTs)
		require.Equal(t, string(w.Key), string(c.Key()))
		require.Equal(t, string(w.Value), string(c.Value()))
		require.Equal(t, string(w.OldValue), string(c.OldValue()))
	}
	_, ok, err := nextRow(entries, &r)
	require.NoError(t, err)
	require.False(t, ok)
}

func TestParseAgreesWithGeneratedCode(t *testing.T) {
	for _, want := range sampleMessages() {
		data, err := want.Marshal()
		require.NoError(t, err)
		requireSame(t, want, data)
	}
}

func TestParseReusesTheMessage(t *testing.T) {
	var m wireMessage
	for _, s := range sampleMessages() {
		data, err := s.Marshal()
		require.NoError(t, err)
		require.NoError(t, m.parse(data))
	}
	require.NoError(t, m.parse(nil))
	require.Empty(t, m.events)
	require.Empty(t, m.resolved.regions)
	require.Zero(t, m.resolved.ts)
}

func TestParseAcceptsUnknownFieldsAndUnpackedRegions(t *testing.T) {
	// ResolvedTs with unpacked regions, and unknown fields of every wire type.
	resolved := []byte{1 << 3, 7, 1 << 3, 9, 2 << 3, 100, 15<<3 | 2, 2, 0xff, 0xff}
	msg := append([]byte{2<<3 | 2, byte(len(resolved))}, resolved...)
	msg = append(msg, 14<<3|1, 1, 2, 3, 4, 5, 6, 7, 8, 14<<3|5, 1, 2, 3, 4, 14<<3, 0x80, 1)
	var want cdcpb.ChangeDataEvent
	require.NoError(t, want.Unmarshal(msg))
	require.Equal(t, []uint64{7, 9}, want.ResolvedTs.Regions)
	requireSame(t, &want, msg)
}

func TestParseRejectsBrokenMessages(t *testing.T) {
	for name, data := range map[string][]byte{
		"cut tag":         {0x80},
		"field 0":         {0 << 3, 1},
		"cut length":      {1<<3 | 2, 5, 1},
		"huge length":     {1<<3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
		"wrong type":      {1 << 3, 1},
		"group":           {9<<3 | 3},
		"cut fixed":       {9<<3 | 1, 1},
		"bad region list": {2<<3 | 2, 3, 1<<3 | 2, 1, 0x80},
		"bad event":       {1<<3 | 2, 2, 1<<3 | 2, 0},
	} {
		var m wireMessage
		require.Error(t, m.parse(data), name)
	}
	var r wireRow
	for name, entries := range map[string][]byte{
		"key beyond row": {1<<3 | 2, 2, 5<<3 | 2, 9},
		"cut row":        {1<<3 | 2, 9},
		"wrong type":     {1<<3 | 2, 2, 5 << 3, 9},
	} {
		_, _, err := nextRow(entries, &r)
		require.Error(t, err, name)
	}
}

// FuzzParse checks that our parser never accepts what the generated code
// rejects or reads differently, and that it reads everything that the
// generated code writes.
func FuzzParse(f *testing.F) {
	for _, m := range sampleMessages() {
		data, err := m.Marshal()
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte{1<<3 | 2, 4, 3<<3 | 2, 2, 1<<3 | 2, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var m wireMessage
		ours := fullParse(&m, data)
		var want cdcpb.ChangeDataEvent
		if err := want.Unmarshal(data); err != nil {
			require.True(t, ours != nil || hasUnread(&m), "accepted what the generated code rejects: %v", err)
			return
		}
		if ours == nil {
			requireSame(t, &want, data)
		}
		canonical, err := want.Marshal()
		require.NoError(t, err)
		requireSame(t, &want, canonical)
	})
}

// fullParse parses a message with its rows.
func fullParse(m *wireMessage, data []byte) error {
	if err := m.parse(data); err != nil {
		return err
	}
	var r wireRow
	for i := range m.events {
		if m.events[i].kind != eventRows {
			continue
		}
		entries, ok, err := nextRow(m.events[i].body, &r)
		for ; ok; entries, ok, err = nextRow(entries, &r) {
			if err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hasUnread tells whether a message has bodies that our parser does not look into.
func hasUnread(m *wireMessage) bool {
	for i := range m.events {
		if k := m.events[i].kind; k == eventError || k == eventOther {
			return true
		}
	}
	return false
}
