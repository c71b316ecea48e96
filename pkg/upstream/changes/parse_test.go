package changes

import (
	"math/rand/v2"
	"testing"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

// parsed collects what the parser found.
type parsed struct {
	events   []wireEvent
	resolved []wireResolved
}

func (p *parsed) onEvent(e *wireEvent) error       { p.events = append(p.events, *e); return nil }
func (p *parsed) onResolved(r *wireResolved) error { p.resolved = append(p.resolved, *r); return nil }

func rowsOf(entries []byte) ([]wireRow, error) {
	var out []wireRow
	for len(entries) > 0 {
		var r wireRow
		var err error
		if entries, err = nextRow(entries, &r); err != nil {
			return nil, err
		}
		if r.rec != nil {
			out = append(out, r)
		}
	}
	return out, nil
}

// requireSame compares what the parser and the generated code see in data.
func requireSame(t *testing.T, want *cdcpb.ChangeDataEvent, data []byte) {
	t.Helper()
	var got parsed
	require.NoError(t, parseMessage(data, &got))
	require.Len(t, got.events, len(want.Events))
	for i, w := range want.Events {
		e := got.events[i]
		require.Equal(t, w.RegionId, e.regionID)
		require.Equal(t, w.RequestId, e.requestID)
		//lint:ignore SA1019 old stores send it
		require.Equal(t, w.GetResolvedTs(), e.resolvedTs) //nolint:staticcheck // old stores send it
		require.Equal(t, w.GetError() != nil, e.isErr)
		require.Equal(t, w.GetEntries() != nil, e.entries != nil)
		if e.isErr {
			var ce cdcpb.Error
			require.NoError(t, ce.Unmarshal(e.err))
			require.Equal(t, w.GetError().String(), ce.String())
		}
		rows, err := rowsOf(e.entries)
		require.NoError(t, err)
		require.Len(t, rows, len(w.GetEntries().GetEntries()))
		for j, wr := range w.GetEntries().GetEntries() {
			requireSameRow(t, wr, &rows[j])
		}
	}
	if want.ResolvedTs == nil {
		require.Empty(t, got.resolved)
		return
	}
	require.Len(t, got.resolved, 1)
	r := got.resolved[0]
	var regions []uint64
	require.NoError(t, r.each(func(id uint64) { regions = append(regions, id) }))
	require.ElementsMatch(t, want.ResolvedTs.Regions, regions)
	require.Equal(t, want.ResolvedTs.Ts, r.ts)
	require.Equal(t, want.ResolvedTs.RequestId, r.requestID)
}

func requireSameRow(t *testing.T, want *cdcpb.Event_Row, got *wireRow) {
	t.Helper()
	c := got.change(got.commitTs)
	require.Equal(t, want.StartTs, c.StartTs)
	require.Equal(t, want.CommitTs, c.CommitTs)
	require.Equal(t, want.Generation, got.generation)
	require.EqualValues(t, want.Type, got.typ)
	require.EqualValues(t, want.OpType, got.op)
	require.Equal(t, string(want.Key), string(c.Key()))
	require.Equal(t, string(want.Value), string(c.Value()))
	require.Equal(t, string(want.OldValue), string(c.OldValue()))
}

func randomEvent(rnd *rand.Rand) *cdcpb.ChangeDataEvent {
	num := func() uint64 { return rnd.Uint64() >> rnd.IntN(64) }
	text := func() []byte {
		b := make([]byte, rnd.IntN(300)*rnd.IntN(2))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	m := &cdcpb.ChangeDataEvent{}
	for range rnd.IntN(4) {
		e := &cdcpb.Event{RegionId: num(), RequestId: num(), Index: num()}
		switch rnd.IntN(6) {
		case 0, 1:
			rows := &cdcpb.Event_Entries{}
			for range rnd.IntN(6) {
				rows.Entries = append(rows.Entries, &cdcpb.Event_Row{
					StartTs: num(), CommitTs: num(), Generation: num(), TxnSource: num(), ExpireTsUnixSecs: num(),
					Type: cdcpb.Event_LogType(rnd.IntN(6)), OpType: cdcpb.Event_Row_OpType(rnd.IntN(3)),
					Key: text(), Value: text(), OldValue: text(),
				})
			}
			e.Event = &cdcpb.Event_Entries_{Entries: rows}
		case 2:
			e.Event = &cdcpb.Event_Error{Error: &cdcpb.Error{DuplicateRequest: &cdcpb.DuplicateRequest{RegionId: num()}}}
		case 3:
			e.Event = &cdcpb.Event_ResolvedTs{ResolvedTs: num()}
		case 4:
			e.Event = &cdcpb.Event_Admin_{Admin: &cdcpb.Event_Admin{}}
		}
		m.Events = append(m.Events, e)
	}
	if rnd.IntN(2) == 0 {
		m.ResolvedTs = &cdcpb.ResolvedTs{Ts: num(), RequestId: num()}
		for range rnd.IntN(20) {
			m.ResolvedTs.Regions = append(m.ResolvedTs.Regions, num())
		}
	}
	return m
}

func TestParseLikeGeneratedCode(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		m := randomEvent(rnd)
		data, err := m.Marshal()
		require.NoError(t, err)
		requireSame(t, m, data)
		// Fields of later versions are passed over.
		data = protowire.AppendTag(data, 99, protowire.BytesType)
		data = protowire.AppendBytes(data, []byte("later"))
		data = protowire.AppendTag(data, 98, protowire.Fixed64Type)
		data = protowire.AppendFixed64(data, 1)
		data = protowire.AppendTag(data, 97, protowire.Fixed32Type)
		data = protowire.AppendFixed32(data, 1)
		requireSame(t, m, data)
	}
}

func TestParseUnpackedRegions(t *testing.T) {
	var body []byte
	for _, id := range []uint64{5, 300, 1 << 50} {
		body = protowire.AppendTag(body, 1, protowire.VarintType)
		body = protowire.AppendVarint(body, id)
	}
	for range 2 { // packed, in two pieces
		body = protowire.AppendTag(body, 1, protowire.BytesType)
		body = protowire.AppendBytes(body, protowire.AppendVarint([]byte{9}, 70000))
	}
	body = protowire.AppendTag(body, 2, protowire.VarintType)
	body = protowire.AppendVarint(body, 44)
	data := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), body)
	var want cdcpb.ChangeDataEvent
	require.NoError(t, want.Unmarshal(data))
	require.Len(t, want.ResolvedTs.Regions, 7)
	requireSame(t, &want, data)
}

func FuzzParse(f *testing.F) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		data, err := randomEvent(rnd).Marshal()
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got parsed
		if parseMessage(data, &got) == nil { // damaged bytes must not panic
			for i := range got.events {
				rows, _ := rowsOf(got.events[i].entries)
				for j := range rows {
					c := rows[j].change(1)
					_, _, _ = c.Key(), c.Value(), c.OldValue()
				}
			}
			for i := range got.resolved {
				_ = got.resolved[i].each(func(uint64) {})
			}
		}
		var want cdcpb.ChangeDataEvent
		if want.Unmarshal(data) != nil {
			return
		}
		for _, e := range want.Events {
			for _, r := range e.GetEntries().GetEntries() {
				if r.Type>>8 != 0 || r.OpType>>8 != 0 {
					return // no such type: told apart from known ones only
				}
			}
		}
		canonical, err := want.Marshal()
		require.NoError(t, err)
		requireSame(t, &want, canonical)
	})
}
