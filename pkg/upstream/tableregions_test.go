package upstream

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tikv/client-go/v2/util/codec"
	"github.com/tikv/pd/client/clients/router"
	pdhttp "github.com/tikv/pd/client/http"

	"github.com/tidemark/tidemark/pkg/model"
)

// borders are the encoded keys between the regions of a cluster: the last one
// before the table, those in it, one behind it.
func borders(n int) [][]byte {
	in := make([][]byte, 0, n+3)
	in = append(in, nil, codec.EncodeBytes(nil, []byte("a")))
	for i := range n {
		in = append(in, codec.EncodeBytes(nil, fmt.Appendf(slices.Clone(model.TableSpan(5).StartKey), "%06d", i)))
	}
	return append(in, codec.EncodeBytes(nil, model.TableSpan(6).StartKey), nil)
}

// within lists the regions that a range of encoded keys touches.
func within(borders [][]byte, start, end []byte, limit int) (found [][2][]byte) {
	for i := 0; i+1 < len(borders) && len(found) < limit; i++ {
		from, to := borders[i], borders[i+1]
		if bytes.Compare(from, end) < 0 && (to == nil || bytes.Compare(to, start) > 0) {
			found = append(found, [2][]byte{from, to})
		}
	}
	return found
}

type fakeHTTP struct {
	pdhttp.Client
	borders [][]byte
	err     error
}

func (f *fakeHTTP) GetRegionsByKeyRange(_ context.Context, r *pdhttp.KeyRange, limit int) (*pdhttp.RegionsInfo, error) {
	info := &pdhttp.RegionsInfo{}
	for i, b := range within(f.borders, r.StartKey, r.EndKey, limit) {
		upper := func(k []byte) string { return strings.ToUpper(hex.EncodeToString(k)) }
		info.Regions = append(info.Regions, pdhttp.RegionInfo{StartKey: upper(b[0]), EndKey: upper(b[1]), WrittenKeys: uint64(i)})
	}
	return info, f.err
}

func TestTableRegions(t *testing.T) {
	const inside = 3 * regionsPage
	all := borders(inside)
	u := &Upstream{pdHTTP: &fakeHTTP{borders: all}, pd: &fakePD{batch: func(r []router.KeyRange, limit int) ([]*router.Region, error) {
		var out []*router.Region
		for i, b := range within(all, r[0].StartKey, r[0].EndKey, limit) {
			out = append(out, pdRegion(uint64(i+1), string(b[0]), string(b[1]), 1))
		}
		return out, nil
	}}}
	for _, written := range []bool{false, true} {
		list, err := u.TableRegions(t.Context(), model.TableSpan(5), written)
		require.NoError(t, err)
		require.Len(t, list, inside+1, "the first one begins before the table")
		require.Equal(t, "a", string(list[0].Start))
		for i, r := range list[1:] {
			require.Equal(t, fmt.Sprintf("%s%06d", model.TableSpan(5).StartKey, i), string(r.Start))
		}
		require.Equal(t, written, list[7].WrittenKeys == 7)
	}
}

func TestTableRegionsFail(t *testing.T) {
	away := errors.New("away")
	u := &Upstream{pdHTTP: &fakeHTTP{err: away}, pd: &fakePD{batch: func([]router.KeyRange, int) ([]*router.Region, error) { return nil, nil }}}
	_, err := u.TableRegions(t.Context(), model.TableSpan(5), false)
	require.ErrorContains(t, err, "knows no region")
	_, err = u.TableRegions(t.Context(), model.TableSpan(5), true)
	require.ErrorIs(t, err, away)
	_, _, err = writtenRegions(&pdhttp.RegionsInfo{Regions: []pdhttp.RegionInfo{{StartKey: "no hex"}}}, nil)
	require.Error(t, err)
	require.Nil(t, rawBorder([]byte("no key")))
}
