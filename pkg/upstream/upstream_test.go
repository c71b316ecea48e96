package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/stretchr/testify/require"
	pd "github.com/tikv/pd/client"
	"github.com/tikv/pd/client/clients/router"
	"github.com/tikv/pd/client/opt"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// fakePD answers the calls that a test sets; others are nil and panic.
type fakePD struct {
	pd.Client
	batch  func([]router.KeyRange, int) ([]*router.Region, error)
	scan   func(start, end []byte, limit int) ([]*router.Region, error)
	stores []*metapb.Store
	gc     func(service string, ttl int64, ts uint64) (uint64, error)
	items  func(names []string) ([]pd.GlobalConfigItem, error)
}

func (f *fakePD) BatchScanRegions(_ context.Context, r []router.KeyRange, limit int, _ ...opt.GetRegionOption) ([]*router.Region, error) {
	return f.batch(r, limit)
}

func (f *fakePD) ScanRegions(_ context.Context, start, end []byte, limit int, _ ...opt.GetRegionOption) ([]*router.Region, error) {
	return f.scan(start, end, limit)
}

func (f *fakePD) GetStore(_ context.Context, id uint64, _ ...opt.GetStoreOption) (*metapb.Store, error) {
	for _, s := range f.stores {
		if s.Id == id {
			return s, nil
		}
	}
	return nil, errors.New("no such store")
}

func (f *fakePD) GetAllStores(context.Context, ...opt.GetStoreOption) ([]*metapb.Store, error) {
	return f.stores, nil
}

func (f *fakePD) UpdateServiceGCSafePoint(_ context.Context, service string, ttl int64, ts uint64) (uint64, error) {
	return f.gc(service, ttl, ts)
}

func (f *fakePD) LoadGlobalConfig(_ context.Context, names []string, _ string) ([]pd.GlobalConfigItem, int64, error) {
	items, err := f.items(names)
	return items, 1, err
}

func pdRegion(id uint64, start, end string, leader uint64) *router.Region {
	return &router.Region{
		Meta: &metapb.Region{Id: id, StartKey: []byte(start), EndKey: []byte(end),
			RegionEpoch: &metapb.RegionEpoch{ConfVer: 2, Version: 3}},
		Leader: &metapb.Peer{StoreId: leader},
	}
}

func TestScanRegions(t *testing.T) {
	ranges := []changes.KeyRange{{Start: []byte("a"), End: []byte("b")}, {Start: []byte("c"), End: []byte("e")}}
	one, two := pdRegion(1, "", "d", 7), pdRegion(2, "d", "", 0)
	want := []changes.Region{
		{ID: 1, ConfVer: 2, Version: 3, Start: []byte(""), End: []byte("d"), Leader: 7},
		{ID: 2, ConfVer: 2, Version: 3, Start: []byte("d"), End: []byte("")},
	}
	f := &fakePD{batch: func(r []router.KeyRange, limit int) ([]*router.Region, error) {
		require.Len(t, r, 2)
		require.Equal(t, 10, limit)
		return []*router.Region{one, two}, nil
	}}
	got, err := (&regions{pd: f}).Scan(t.Context(), ranges, 10)
	require.NoError(t, err)
	require.Equal(t, want, got)

	// An older PD scans one range at a time; a region is told once.
	f.batch = func([]router.KeyRange, int) ([]*router.Region, error) {
		return nil, status.Error(codes.Unimplemented, "unknown method")
	}
	f.scan = func(start, _ []byte, _ int) ([]*router.Region, error) {
		if string(start) == "a" {
			return []*router.Region{one}, nil
		}
		return []*router.Region{one, two}, nil
	}
	got, err = (&regions{pd: f}).Scan(t.Context(), ranges, 10)
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = (&regions{pd: f}).Scan(t.Context(), ranges, 1)
	require.NoError(t, err)
	require.Equal(t, want[:1], got)

	f.scan = func([]byte, []byte, int) ([]*router.Region, error) { return nil, errors.New("away") }
	_, err = (&regions{pd: f}).Scan(t.Context(), ranges, 10)
	require.ErrorContains(t, err, "away")
}

func TestStoreAddr(t *testing.T) {
	r := &regions{pd: &fakePD{stores: []*metapb.Store{
		{Id: 1, Address: "kv:20160", Version: "8.5.3"},
		{Id: 2, Address: "kv:20161", Version: "6.5.0"},
		{Id: 3, Address: "kv:20162", Version: "8.5.3", State: metapb.StoreState_Tombstone},
	}}}
	addr, err := r.StoreAddr(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, "kv:20160", addr)
	_, err = r.StoreAddr(t.Context(), 2)
	require.ErrorIs(t, err, cerrors.ErrVersionIncompatible)
	for _, gone := range []uint64{3, 4} {
		_, err = r.StoreAddr(t.Context(), gone)
		require.Error(t, err)
		require.NotErrorIs(t, err, cerrors.ErrVersionIncompatible)
	}
}

func TestParseVersion(t *testing.T) {
	for in, want := range map[string]string{
		"v8.5.3":                      "8.5.3",
		"8.5.3":                       "8.5.3",
		"v8.5.0-alpha":                "8.5.0-alpha",
		"v8.5.3-12-gdeadbee":          "8.5.3",
		"v8.5.3-12-gdeadbee0123-dev":  "8.5.3",
		"v8.5.3-fips":                 "8.5.3",
		"v8.5.3-dirty":                "8.5.3",
		"v8.5.3-fips-dirty":           "8.5.3-fips",
		"v7.1.0-alpha-3-gabcdef01234": "7.1.0-alpha",
		"v9.0.0-beta.1-12-gdeadbee":   "9.0.0-beta.1",
	} {
		v, err := ParseVersion(in)
		require.NoError(t, err, in)
		require.Equal(t, want, v.String(), in)
		require.Equal(t, want, wireVersion(in), in)
	}
	for _, in := range []string{"", "None", "v8", "8.5", "latest"} {
		_, err := ParseVersion(in)
		require.ErrorIs(t, err, cerrors.ErrNewSemVersion, in)
		require.Equal(t, "0.0.0", wireVersion(in), in)
	}
}

func TestStoresAreToldAVersionTheyCanRead(t *testing.T) {
	u := &Upstream{cfg: Config{Version: "v8.5.3-12-gdeadbee"}}
	require.Equal(t, "8.5.3", u.changesConfig(nil).Version)
}

func TestCheckStoreVersions(t *testing.T) {
	check := func(versions ...string) error {
		f := &fakePD{}
		for i, v := range versions {
			s := &metapb.Store{Id: uint64(i + 1), Version: v}
			if v == "tiflash" {
				s.Labels = []*metapb.StoreLabel{{Key: "engine", Value: "tiflash_compute"}}
			}
			f.stores = append(f.stores, s)
		}
		return CheckStoreVersions(t.Context(), f)
	}
	require.NoError(t, check("7.1.0-alpha", "v8.5.3", "9.9.9", "10.0.0-alpha", "tiflash"))
	require.ErrorIs(t, check("8.5.3", "7.0.9"), cerrors.ErrVersionIncompatible)
	require.ErrorIs(t, check("10.0.0"), cerrors.ErrVersionIncompatible)
	require.ErrorIs(t, check("?"), cerrors.ErrNewSemVersion)
}

func TestCheckPDVersion(t *testing.T) {
	var body atomic.Value
	body.Store(`{"version": "v8.5.3"}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/pd/api/v1/version" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(body.Load().(string)))
	}))
	defer server.Close()
	broken := httptest.NewServer(http.NotFoundHandler())
	defer broken.Close()
	require.NoError(t, CheckPDVersion(t.Context(), Security{}, []string{broken.URL, server.URL + "/"}))
	body.Store(`{"version": "v6.5.0"}`)
	require.ErrorIs(t, CheckPDVersion(t.Context(), Security{}, []string{server.URL}), cerrors.ErrVersionIncompatible)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := CheckPDVersion(ctx, Security{}, []string{broken.URL})
	require.ErrorIs(t, err, cerrors.ErrAPIGetPDClientFailed)
	_, err = Security{CAPath: "/does/not/exist", CertPath: "a", KeyPath: "b"}.TLSConfig()
	require.Error(t, err)
}

func TestClockGoesOnWithoutPD(t *testing.T) {
	var failing atomic.Bool
	var calls atomic.Int64
	base := model.TSOFromTime(time.Now().Add(time.Hour)) // PD's time is not ours
	start := time.Now()
	c := newClock(func(context.Context) (uint64, error) {
		calls.Add(1)
		if failing.Load() {
			return 0, errors.New("away")
		}
		return base + model.ComposeTSO(time.Since(start).Milliseconds(), 5), nil
	}, time.Millisecond, zap.NewNop())
	require.Zero(t, c.now())
	require.NoError(t, c.sample(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.run(ctx) }()
	failing.Store(true)
	at := calls.Load()
	require.Eventually(t, func() bool { return calls.Load() > at+5 }, 30*time.Second, time.Millisecond)
	before := c.now()
	require.Eventually(t, func() bool { return c.now() > before }, 30*time.Second, time.Millisecond)
	least := time.Since(start).Milliseconds()
	reached := model.PhysicalMs(c.now()) - model.PhysicalMs(base)
	most := time.Since(start).Milliseconds()
	require.GreaterOrEqual(t, reached, least-100)
	require.LessOrEqual(t, reached, most+100)
	cancel()
	<-done
}

func TestServiceSafePoint(t *testing.T) {
	f := &fakePD{gc: func(service string, ttl int64, ts uint64) (uint64, error) {
		require.Equal(t, "ticdc-x", service)
		require.EqualValues(t, 600, ttl)
		return ts - 1, nil
	}}
	u := &Upstream{cfg: Config{Logger: zap.NewNop()}, pd: f}
	least, err := u.SetServiceSafePoint(t.Context(), "ticdc-x", 600, 42)
	require.NoError(t, err)
	require.EqualValues(t, 41, least)

	f.gc = func(string, int64, uint64) (uint64, error) { return 0, errors.New("away") }
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = u.SetServiceSafePoint(ctx, "ticdc-x", 600, 42)
	require.ErrorIs(t, err, cerrors.ErrUpdateServiceSafepointFailed)
	require.True(t, strings.Contains(err.Error(), "away"))
}

func TestRetry(t *testing.T) {
	calls := 0
	require.NoError(t, retry(t.Context(), 5, time.Microsecond, time.Millisecond, func() error {
		if calls++; calls < 3 {
			return errors.New("no")
		}
		return nil
	}))
	require.Equal(t, 3, calls)
	calls = 0
	require.Error(t, retry(t.Context(), 4, time.Microsecond, time.Millisecond, func() error { calls++; return errors.New("no") }))
	require.Equal(t, 4, calls)
}
