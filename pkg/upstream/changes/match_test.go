package changes

import (
	"fmt"
	"testing"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/stretchr/testify/require"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

func wire(t *testing.T, r cdcpb.Event_Row) *wireRow {
	t.Helper()
	b, err := r.Marshal()
	require.NoError(t, err)
	var w wireRow
	require.NoError(t, parseRow(b, &w))
	return &w
}

// The rows of one key "k".
func prewrite(start uint64, value, old string, generation uint64) cdcpb.Event_Row {
	return cdcpb.Event_Row{Type: cdcpb.Event_PREWRITE, OpType: cdcpb.Event_Row_PUT, StartTs: start,
		Key: []byte("k"), Value: []byte(value), OldValue: []byte(old), Generation: generation}
}

func deletion(start uint64, old string) cdcpb.Event_Row {
	r := prewrite(start, "", old, 0)
	r.OpType = cdcpb.Event_Row_DELETE
	return r
}

func committing(start, commit uint64) cdcpb.Event_Row {
	return cdcpb.Event_Row{Type: cdcpb.Event_COMMIT, OpType: cdcpb.Event_Row_PUT, StartTs: start, CommitTs: commit, Key: []byte("k")}
}

func rollback(start uint64) cdcpb.Event_Row {
	return cdcpb.Event_Row{Type: cdcpb.Event_ROLLBACK, StartTs: start, Key: []byte("k")}
}

func committed(start, commit uint64, value, old string) cdcpb.Event_Row {
	return cdcpb.Event_Row{Type: cdcpb.Event_COMMITTED, OpType: cdcpb.Event_Row_PUT, StartTs: start, CommitTs: commit,
		Key: []byte("k"), Value: []byte(value), OldValue: []byte(old)}
}

func show(rows []model.RawChange) []string {
	var out []string
	for i := range rows {
		c := &rows[i]
		out = append(out, fmt.Sprintf("%d-%d %s %s>%s", c.StartTs, c.CommitTs, c.Key(), c.OldValue(), c.Value()))
	}
	return out
}

func TestMatcher(t *testing.T) {
	initialized := cdcpb.Event_Row{Type: cdcpb.Event_INITIALIZED}
	other := prewrite(20, "x", "", 0)
	other.OpType = cdcpb.Event_Row_UNKNOWN
	for _, tc := range []struct {
		name string
		rows []cdcpb.Event_Row
		want []string
		err  error
		left int // prewrites kept at the end
	}{
		{"scan row", []cdcpb.Event_Row{committed(11, 12, "b", "a")}, []string{"11-12 k a>b"}, nil, 0},
		{"scan row at the start-ts", []cdcpb.Event_Row{committed(9, 10, "b", "a")}, nil, nil, 0},
		{"1PC after the scan", []cdcpb.Event_Row{initialized, committed(11, 12, "b", "")}, []string{"11-12 k >b"}, nil, 0},
		{"live", []cdcpb.Event_Row{initialized, prewrite(11, "b", "a", 0), committing(11, 12)}, []string{"11-12 k a>b"}, nil, 0},
		{"live deletion", []cdcpb.Event_Row{initialized, deletion(11, "a"), committing(11, 12)}, []string{"11-12 k a>"}, nil, 0},
		{"live during the scan", []cdcpb.Event_Row{prewrite(11, "b", "a", 0), committing(11, 12)}, []string{"11-12 k a>b"}, nil, 0},
		{"deletion during the scan waits", []cdcpb.Event_Row{deletion(11, "a"), committing(11, 12)}, nil, nil, 1},
		{"deletion during the scan", []cdcpb.Event_Row{deletion(11, "a"), committing(11, 12), initialized}, []string{"11-12 k a>"}, nil, 0},
		{"prewrite from the scan after the commit", []cdcpb.Event_Row{committing(11, 12), prewrite(11, "b", "", 0), initialized}, []string{"11-12 k >b"}, nil, 0},
		{"commit whose row the scan has", []cdcpb.Event_Row{committing(11, 12), committed(11, 12, "b", ""), initialized}, []string{"11-12 k >b"}, nil, 0},
		{"commit without a prewrite", []cdcpb.Event_Row{initialized, committing(11, 12)}, nil, cerrors.ErrPrewriteNotMatch, 0},
		{"commit at the start-ts", []cdcpb.Event_Row{initialized, prewrite(9, "b", "", 0), committing(9, 10)}, nil, nil, 0},
		{"parked commit at the start-ts", []cdcpb.Event_Row{committing(9, 10), prewrite(9, "b", "", 0), initialized}, nil, nil, 0},
		{"rollback", []cdcpb.Event_Row{initialized, prewrite(11, "b", "", 0), rollback(11)}, nil, nil, 0},
		{"rollback of another", []cdcpb.Event_Row{initialized, prewrite(11, "b", "", 0), rollback(12)}, nil, nil, 1},
		{"rollback during the scan", []cdcpb.Event_Row{rollback(11), prewrite(11, "b", "", 0), initialized}, nil, nil, 0},
		{"rollback after a parked commit", []cdcpb.Event_Row{deletion(11, "a"), committing(11, 12), rollback(11), initialized}, []string{"11-12 k a>"}, nil, 0},
		{"renewed lock", []cdcpb.Event_Row{initialized, prewrite(11, "b", "a", 0), prewrite(11, "", "", 0), committing(11, 12)}, []string{"11-12 k a>b"}, nil, 0},
		{"later generation", []cdcpb.Event_Row{initialized, prewrite(11, "b", "a", 1), prewrite(11, "c", "a", 2), committing(11, 12)}, []string{"11-12 k a>c"}, nil, 0},
		{"earlier generation", []cdcpb.Event_Row{initialized, prewrite(11, "c", "a", 2), prewrite(11, "b", "a", 1), committing(11, 12)}, []string{"11-12 k a>c"}, nil, 0},
		{"generation during the scan waits", []cdcpb.Event_Row{prewrite(11, "b", "a", 1), committing(11, 12), prewrite(11, "c", "a", 2), initialized}, []string{"11-12 k a>c"}, nil, 0},
		{"two transactions", []cdcpb.Event_Row{initialized, prewrite(11, "b", "a", 0), committing(11, 12), prewrite(13, "c", "b", 0), committing(13, 14)},
			[]string{"11-12 k a>b", "13-14 k b>c"}, nil, 0},
		{"unknown operation", []cdcpb.Event_Row{other}, nil, cerrors.ErrUnknownKVEventType, 0},
		{"unknown type", []cdcpb.Event_Row{{Type: 77, Key: []byte("k")}}, nil, cerrors.ErrUnknownKVEventType, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := matcher{startTs: 10}
			var out []model.RawChange
			var err error
			for _, r := range tc.rows {
				require.NoError(t, err)
				out, err = m.apply(wire(t, r), out)
			}
			require.ErrorIs(t, err, tc.err)
			require.Equal(t, tc.want, show(out))
			require.Len(t, m.prewrites, tc.left)
		})
	}
}

func TestMatcherErrorNamesTheKeyInHex(t *testing.T) {
	m := matcher{initialized: true}
	r := committing(1, 2)
	r.Key = []byte{0, 0xff}
	_, err := m.apply(wire(t, r), nil)
	require.ErrorContains(t, err, "00FF")
}
