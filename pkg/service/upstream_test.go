package service_test

import (
	"context"
	stderrors "errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/service"
	"github.com/tidemark/tidemark/pkg/service/servicetest"
)

// other is the cluster of the PD that a request names.
type other struct {
	*servicetest.Cluster
	id     uint64
	err    error // of reading tables
	closed *int
}

func (o other) ClusterID() uint64 { return o.id }

func (o other) TablesAt(context.Context, uint64) ([]*model.Table, error) { return o.Tables, o.err }

func (o other) Close() { *o.closed++ }

// dialling makes a service whose requests with a PD reach the other cluster.
func dialling(c *servicetest.Cluster, up service.OtherUpstream, err error) *service.Service {
	o := c.Options()
	o.DialPD = func(context.Context, service.PDAddress) (service.OtherUpstream, error) { return up, err }
	return service.New(o)
}

func elsewhere() service.PDAddress {
	return service.PDAddress{Endpoints: []string{"http://other:2379"}}
}

func TestChangefeedsReadFromTheOwnUpstream(t *testing.T) {
	c := servicetest.New()
	c.Add(servicetest.Feed("f", model.StateStopped, "blackhole://"))
	withPD := func(r *service.CreateRequest) { r.PD = elsewhere() }
	id, ctx := model.DefaultChangefeedID("f"), context.Background()
	target := service.UpdateRequest{ID: id, TargetTs: servicetest.NowTSO, PD: elsewhere(), TargetText: "%d %d"}

	closed := 0
	s := dialling(c, other{Cluster: c, id: 1, closed: &closed}, nil)
	_, err := s.Create(ctx, request(withPD))
	require.ErrorIs(t, err, errors.ErrUpstreamMissMatch)
	_, _, err = s.Update(ctx, target)
	require.ErrorIs(t, err, errors.ErrUpstreamMissMatch)
	require.ErrorIs(t, s.ResumeFrom(ctx, id, 0, elsewhere()), errors.ErrAPIInvalidParam)
	require.Equal(t, 3, closed)

	s = dialling(c, other{Cluster: c, id: servicetest.UpstreamID, closed: &closed}, nil)
	_, err = s.Create(ctx, request(withPD))
	require.NoError(t, err, "the same cluster by another name")
	_, _, err = s.Update(ctx, target)
	require.NoError(t, err)
	require.NoError(t, s.ResumeFrom(ctx, id, 0, elsewhere()))
	require.Equal(t, 6, closed)
}

func TestPDThatDoesNotAnswer(t *testing.T) {
	c := servicetest.New()
	c.Add(servicetest.Feed("f", model.StateStopped, "blackhole://"))
	s := dialling(c, nil, stderrors.New("[pd] failed to get cluster id"))
	id, ctx := model.DefaultChangefeedID("f"), context.Background()

	_, err := s.Create(ctx, request(func(r *service.CreateRequest) { r.PD = elsewhere() }))
	const text = "failed to get PDClient to connect PD, please recheck"
	require.EqualError(t, err, "[CDC:ErrAPIGetPDClientFailed]"+text+": [CDC:ErrAPIGetPDClientFailed]"+text+": [pd] failed to get cluster id")
	require.ErrorIs(t, s.ResumeFrom(ctx, id, 0, elsewhere()), errors.ErrAPIInvalidParam)
	_, err = s.TSO(ctx, 0, elsewhere())
	require.ErrorIs(t, err, errors.ErrInternalServerError)
	require.ErrorIs(t, s.DeleteSafePoint(ctx, 0, elsewhere()), errors.ErrInternalServerError)
	require.ErrorIs(t, s.ResolveLocks(ctx, servicetest.Region, 1, elsewhere()), errors.ErrAPIGetPDClientFailed)
	_, _, err = s.VerifyTables(ctx, service.VerifyRequest{Config: config.DefaultReplicaConfig(), StartTs: 1, PD: elsewhere()})
	require.ErrorIs(t, err, errors.ErrNewStore)

	st, err := s.Synced(ctx, id, nil, elsewhere())
	require.NoError(t, err)
	require.False(t, st.Synced)
	require.EqualValues(t, 0, st.Now.UnixMilli())
	require.Contains(t, st.Info, "CDC:ErrAPIGetPDClientFailed")
}

// TestCallsGoToTheUpstreamTheyName: what asks or repairs an upstream works on
// the one of the request.
func TestCallsGoToTheUpstreamTheyName(t *testing.T) {
	own, far := servicetest.New(), servicetest.New()
	far.TSO = 7 << 18
	far.Tables = []*model.Table{table("far", "t", true)}
	closed := 0
	s := dialling(own, other{Cluster: far, id: 1, closed: &closed}, nil)
	ctx := context.Background()

	ts, err := s.TSO(ctx, 0, elsewhere())
	require.NoError(t, err)
	require.Equal(t, far.TSO, ts)
	ts, err = s.TSO(ctx, servicetest.UpstreamID, elsewhere())
	require.NoError(t, err)
	require.Equal(t, servicetest.NowTSO, ts, "an id wins")
	_, err = s.TSO(ctx, 5, service.PDAddress{})
	require.EqualError(t, err, "[CDC:ErrUpstreamNotFound]upstream not found, cluster-id: 5")

	require.NoError(t, s.ResolveLocks(ctx, servicetest.Region, 9, elsewhere()))
	require.Empty(t, own.Resolved())
	require.Equal(t, []servicetest.Locks{{Region: servicetest.Region, MaxTs: 9}}, far.Resolved())
	require.EqualError(t, s.ResolveLocks(ctx, 0, 9, service.PDAddress{}), "region not found for regionID 0")

	eligible, _, err := s.VerifyTables(ctx, service.VerifyRequest{Config: config.DefaultReplicaConfig(), StartTs: 1, PD: elsewhere()})
	require.NoError(t, err)
	require.Len(t, eligible, 1)
	require.Equal(t, 3, closed)

	s = dialling(own, other{Cluster: far, err: stderrors.New("no store"), closed: &closed}, nil)
	_, _, err = s.VerifyTables(ctx, service.VerifyRequest{Config: config.DefaultReplicaConfig(), StartTs: 1, PD: elsewhere()})
	require.EqualError(t, err, "[CDC:ErrNewStore]new store failed: no store")
	require.Equal(t, 4, closed, "closed on failure too")
}
