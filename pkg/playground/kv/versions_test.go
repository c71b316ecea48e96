package kv

import (
	"context"
	"fmt"
	"testing"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/stretchr/testify/require"
)

// TestEveryVersionStaysAndIsFound writes more than the write buffers hold and reads all of it back in every way: by
// iterating, by snapshot reads at each round, by a change feed, and again after a restart.
func TestEveryVersionStaysAndIsFound(t *testing.T) {
	const keys, rounds, batch = 20_000, 12, 1000
	small := func(o *Options) { o.MemTableBytes = 2 << 20 }
	dir := t.TempDir()
	c := openCluster(t, dir, nil, small)
	tikv := tikvpb.NewTikvClient(c.dial())
	before := c.pd.ts(t)
	var roundTs []uint64
	for round := range rounds {
		for from := 0; from < keys; from += batch {
			var muts []*kvrpcpb.Mutation
			for i := from; i < from+batch; i++ {
				m := &kvrpcpb.Mutation{Op: kvrpcpb.Op_Put, Key: versionKey(i), Value: versionValue(i, round)}
				if m.Value == nil {
					m.Op = kvrpcpb.Op_Del
				}
				muts = append(muts, m)
			}
			resp := c.prewrite(tikv, c.pd.ts(t), muts, onePC)
			require.Empty(t, resp.Errors)
			require.NotZero(t, resp.OnePcCommitTs)
		}
		roundTs = append(roundTs, c.pd.ts(t))
	}
	require.Greater(t, len(c.store.db.Tables()), 3, "the data must have gone through several tables")
	requireVersions(t, c, before, roundTs)

	require.NoError(t, c.store.Close())
	c = openCluster(t, dir, c.pd, small)
	requireVersions(t, c, before, roundTs)
	require.NoError(t, c.store.Close())
}

func versionKey(i int) []byte { return fmt.Appendf(nil, "t%06d", i) }

// versionValue returns the value of a key after a round; nil is a deletion.
func versionValue(i, round int) []byte {
	if (i+round)%10 == 0 {
		return nil
	}
	return fmt.Appendf(nil, "value %d of key %d", round, i)
}

func requireVersions(t *testing.T, c *cluster, before uint64, roundTs []uint64) {
	const keys = 20_000
	last := roundTs[len(roundTs)-1]
	all := c.versions(spanStart, spanEnd, before, last)
	require.Len(t, all, keys*len(roundTs))

	f := newFeedClient(t, c, spanStart, spanEnd, before)
	f.requireEqual(t, c, spanStart, spanEnd, last)
	require.Len(t, f.rows, len(all))
	f.close()
	late := newFeedClient(t, c, spanStart, spanEnd, roundTs[len(roundTs)-2])
	late.requireEqual(t, c, spanStart, spanEnd, last)
	require.Len(t, late.rows, keys)
	late.close()

	tikv := tikvpb.NewTikvClient(c.dial())
	for round, ts := range roundTs {
		req := &kvrpcpb.BatchGetRequest{Context: c.context("t"), Version: ts}
		want := map[string]string{}
		for i := round; i < keys; i += 97 {
			req.Keys = append(req.Keys, versionKey(i))
			if v := versionValue(i, round); v != nil {
				want[string(versionKey(i))] = string(v)
			}
		}
		resp, err := tikv.KvBatchGet(context.Background(), req)
		require.NoError(t, err)
		got := map[string]string{}
		for _, pair := range resp.Pairs {
			require.Nil(t, pair.Error)
			got[string(pair.Key)] = string(pair.Value)
		}
		require.Equal(t, want, got, "snapshot of round %d", round)
	}
}
