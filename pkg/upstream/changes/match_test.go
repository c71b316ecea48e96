package changes

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

func row(typ rowType, startTs, commitTs uint64, key, value, old string) wireRow {
	rec := []byte(key + value + old)
	op := opPut
	if value == "" {
		op = opDelete
	}
	return wireRow{
		startTs: startTs, commitTs: commitTs, typ: typ, op: op, rec: rec,
		keyLen: uint32(len(key)), valueOff: uint32(len(key)), valueLen: uint32(len(value)),
		oldOff: uint32(len(key) + len(value)), oldLen: uint32(len(old)),
	}
}

func prewrite(startTs uint64, key, value, old string) wireRow {
	return row(rowPrewrite, startTs, 0, key, value, old)
}

func committed(startTs, commitTs uint64, key, value, old string) wireRow {
	return row(rowCommitted, startTs, commitTs, key, value, old)
}

func commit(startTs, commitTs uint64, key string) wireRow {
	r := row(rowCommit, startTs, commitTs, key, "", "")
	r.op = 0
	return r
}

func rollback(startTs uint64, key string) wireRow {
	r := row(rowRollback, startTs, 0, key, "", "")
	r.op = 0
	return r
}

func initialized() wireRow { return wireRow{typ: rowInitialized} }

// generation makes a row of a large transaction; without value it is a
// renewal of a put's lock.
func generation(r wireRow, g uint64) wireRow {
	r.generation = g
	return r
}

func renewal(r wireRow) wireRow {
	r.op = opPut
	return r
}

func show(c *model.RawChange) string {
	return fmt.Sprintf("%s %s<-%s @%d-%d", c.Key(), c.Value(), c.OldValue(), c.StartTs, c.CommitTs)
}

func TestMatch(t *testing.T) {
	for name, tc := range map[string]struct {
		rows []wireRow
		want []string
		code *errors.Code
	}{
		"committed passes, before and after": {
			rows: []wireRow{committed(11, 12, "a", "1", ""), initialized(), committed(13, 14, "a", "2", "1")},
			want: []string{"a 1<- @11-12", "a 2<-1 @13-14"},
		},
		"live transaction": {
			rows: []wireRow{initialized(), prewrite(11, "a", "1", "0"), commit(11, 12, "a")},
			want: []string{"a 1<-0 @11-12"},
		},
		"live transaction before the scan ends": {
			rows: []wireRow{prewrite(11, "a", "1", "0"), commit(11, 12, "a"), initialized()},
			want: []string{"a 1<-0 @11-12"},
		},
		"live deletion waits for the end of the scan": {
			rows: []wireRow{prewrite(11, "a", "", "0"), commit(11, 12, "a"), committed(1, 20, "b", "x", ""), initialized()},
			want: []string{"b x<- @1-20", "a <-0 @11-12"},
		},
		"commit of a lock that the scan brings later": {
			rows: []wireRow{commit(11, 12, "a"), prewrite(11, "a", "1", "0"), initialized()},
			want: []string{"a 1<-0 @11-12"},
		},
		"commit that the scan has already": {
			rows: []wireRow{commit(11, 12, "a"), committed(11, 12, "a", "1", ""), initialized()},
			want: []string{"a 1<- @11-12"},
		},
		"rollback": {
			rows: []wireRow{initialized(), prewrite(11, "a", "1", ""), rollback(11, "a"), commit(11, 12, "a")},
			code: errors.ErrPrewriteNotMatch,
		},
		"rollback before the lock that the scan brings": {
			rows: []wireRow{rollback(11, "a"), prewrite(11, "a", "1", ""), initialized(), commit(11, 12, "a")},
			code: errors.ErrPrewriteNotMatch,
		},
		"rollback of an unknown row": {
			rows: []wireRow{initialized(), rollback(11, "a")},
		},
		"same key in two transactions": {
			rows: []wireRow{initialized(), prewrite(11, "a", "1", ""), commit(11, 12, "a"), prewrite(13, "a", "2", "1"), commit(13, 14, "a")},
			want: []string{"a 1<- @11-12", "a 2<-1 @13-14"},
		},
		"commit without prewrite": {
			rows: []wireRow{initialized(), commit(11, 12, "a")},
			code: errors.ErrPrewriteNotMatch,
		},
		"old commits are matched and dropped": {
			rows: []wireRow{initialized(), prewrite(8, "a", "1", ""), commit(8, 10, "a"), committed(3, 4, "b", "x", "")},
		},
		"old commit again is an error, since the first took the prewrite": {
			rows: []wireRow{initialized(), prewrite(8, "a", "1", ""), commit(8, 10, "a"), commit(8, 10, "a")},
			code: errors.ErrPrewriteNotMatch,
		},
		"renewal does not hide the value": {
			rows: []wireRow{initialized(), prewrite(11, "a", "1", "0"), renewal(prewrite(11, "a", "", "0")), commit(11, 12, "a")},
			want: []string{"a 1<-0 @11-12"},
		},
		"value after a renewal": {
			rows: []wireRow{initialized(), renewal(prewrite(11, "a", "", "")), prewrite(11, "a", "1", "0"), commit(11, 12, "a")},
			want: []string{"a 1<-0 @11-12"},
		},
		"only a renewal was seen of what the scan has": {
			rows: []wireRow{renewal(prewrite(11, "a", "", "")), commit(11, 12, "a"), committed(11, 12, "a", "1", "0"), initialized()},
			want: []string{"a 1<-0 @11-12"},
		},
		"later generation wins": {
			rows: []wireRow{initialized(), generation(prewrite(11, "a", "1", "0"), 1), generation(prewrite(11, "a", "2", "0"), 2), commit(11, 12, "a")},
			want: []string{"a 2<-0 @11-12"},
		},
		"earlier generation loses": {
			rows: []wireRow{initialized(), generation(prewrite(11, "a", "2", "0"), 2), generation(prewrite(11, "a", "1", "0"), 1), commit(11, 12, "a")},
			want: []string{"a 2<-0 @11-12"},
		},
		"later generation deletes": {
			rows: []wireRow{initialized(), generation(prewrite(11, "a", "1", "0"), 1), generation(prewrite(11, "a", "", "0"), 2), commit(11, 12, "a")},
			want: []string{"a <-0 @11-12"},
		},
		"generations are not matched before the scan ends": {
			rows: []wireRow{generation(prewrite(11, "a", "1", "0"), 1), commit(11, 12, "a"), generation(prewrite(11, "a", "2", "0"), 2), initialized()},
			want: []string{"a 2<-0 @11-12"},
		},
		"put without value": {
			rows: []wireRow{initialized(), renewal(prewrite(11, "a", "", "")), commit(11, 12, "a")},
			code: errors.ErrPrewriteNotMatch,
		},
		"unknown operation": {
			rows: []wireRow{{typ: rowCommitted, op: 7}},
			code: errors.ErrUnknownKVEventType,
		},
		"unknown operation of a prewrite": {
			rows: []wireRow{{typ: rowPrewrite}},
			code: errors.ErrUnknownKVEventType,
		},
		"unknown row type": {
			rows: []wireRow{{typ: 9, op: opPut}},
			code: errors.ErrUnknownKVEventType,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := matcher{startTs: 10}
			var out []model.RawChange
			var err error
			for i := range tc.rows {
				if out, err = m.apply(&tc.rows[i], out); err != nil {
					break
				}
			}
			if tc.code != nil {
				require.ErrorIs(t, err, tc.code)
				return
			}
			require.NoError(t, err)
			var got []string
			for i := range out {
				got = append(got, show(&out[i]))
			}
			require.Equal(t, tc.want, got)
			require.Empty(t, m.commits)
			require.Empty(t, m.rollbacks)
			require.Equal(t, keptBy(&m), m.held)
		})
	}
}

// keptBy is what the rows that the matcher keeps cost.
func keptBy(m *matcher) (bytes int64) {
	for _, r := range m.prewrites {
		bytes += cost(&r)
	}
	for _, rows := range [][]wireRow{m.commits, m.rollbacks} {
		for i := range rows {
			bytes += cost(&rows[i])
		}
	}
	return bytes
}

func TestMatchCountsWhatItKeeps(t *testing.T) {
	var m matcher
	for _, r := range []wireRow{
		prewrite(1, "a", "value", "old"), prewrite(1, "a", "longer value", "old"), renewal(prewrite(1, "a", "", "")),
		prewrite(2, "b", "", "old"), commit(2, 3, "b"), rollback(4, "c"), prewrite(4, "c", "v", ""), commit(5, 6, "d"),
		initialized(),
		prewrite(7, "e", "v", ""), rollback(7, "e"), rollback(8, "f"), prewrite(9, "g", "v", ""),
	} {
		_, err := m.apply(&r, nil)
		require.NoError(t, err)
		require.Equal(t, keptBy(&m), m.held)
	}
	require.Len(t, m.prewrites, 2)
	for _, r := range []wireRow{commit(1, 10, "a"), commit(9, 11, "g")} {
		_, err := m.apply(&r, nil)
		require.NoError(t, err)
	}
	require.Zero(t, m.held)
}

func TestMatchGivesMemoryOfLargeTransactionsBack(t *testing.T) {
	m := matcher{initialized: true}
	var out []model.RawChange
	for i := range shrinkFrom {
		r := prewrite(1, fmt.Sprint(i), "v", "")
		_, err := m.apply(&r, nil)
		require.NoError(t, err)
	}
	for i := range shrinkFrom {
		r := commit(1, 2, fmt.Sprint(i))
		var err error
		out, err = m.apply(&r, out)
		require.NoError(t, err)
	}
	require.Len(t, out, shrinkFrom)
	require.Nil(t, m.prewrites)
}
