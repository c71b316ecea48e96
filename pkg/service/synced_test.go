package service_test

import (
	"context"
	stderrors "errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/service"
	"github.com/tidemark/tidemark/pkg/service/servicetest"
)

func TestSynced(t *testing.T) {
	id := model.DefaultChangefeedID("a")
	ago := func(d time.Duration) uint64 { return servicetest.NowTSO - uint64(d.Milliseconds())<<18 }
	tests := []struct {
		name                     string
		checkpoint, last, puller time.Duration // before now
		thresholds               *config.SyncedStatusConfig
		noPD                     bool
		synced                   bool
		info                     string
	}{
		{name: "done", checkpoint: time.Second, last: time.Hour, puller: time.Second, synced: true, info: "Data syncing is finished"},
		{name: "busy", checkpoint: time.Second, last: time.Minute, puller: time.Second, info: "The data syncing is not finished, please wait"},
		{name: "stuck source", checkpoint: time.Minute, last: time.Hour, puller: time.Minute, info: "Please check whether PD is online and TiKV Regions are all available."},
		{name: "behind", checkpoint: time.Hour, last: time.Hour, puller: time.Second, info: "The data syncing is not finished, please wait"},
		{name: "own thresholds", checkpoint: time.Second, last: time.Minute, puller: time.Second,
			thresholds: &config.SyncedStatusConfig{SyncedCheckInterval: 10, CheckpointInterval: 15}, synced: true, info: "finished"},
		{name: "own checkpoint threshold", checkpoint: time.Minute, last: time.Hour, puller: time.Second,
			thresholds: &config.SyncedStatusConfig{SyncedCheckInterval: 300, CheckpointInterval: 90}, synced: true, info: "finished"},
		{name: "no PD", checkpoint: time.Second, last: time.Hour, puller: time.Second, noPD: true, info: "no PD"},
		{name: "no PD and behind", checkpoint: time.Hour, last: time.Hour, puller: time.Second, noPD: true, info: "Besides the data is not finish syncing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := servicetest.New()
			f := servicetest.Feed("a", model.StateNormal, "blackhole://")
			f.Status = &etcdmeta.ChangefeedStatus{CheckpointTs: ago(tt.checkpoint)}
			f.LastSyncedTs, f.PullerResolvedTs = ago(tt.last), ago(tt.puller)
			c.Add(f)
			if tt.noPD {
				c.TSOErr = stderrors.New("no PD")
			}
			st, err := c.Service().Synced(context.Background(), id, tt.thresholds, service.PDAddress{})
			require.NoError(t, err)
			require.Equal(t, tt.synced, st.Synced)
			if tt.thresholds != nil {
				f.Info.Config = config.DefaultReplicaConfig()
				f.Info.Config.SyncedStatus = tt.thresholds
				c.Add(f)
				own, err := c.Service().Synced(context.Background(), id, nil, service.PDAddress{})
				require.NoError(t, err)
				require.Equal(t, st, own, "the changefeed's own count where the request gives none")
			}
			require.Contains(t, st.Info, tt.info)
			require.Equal(t, tt.noPD, st.Now.Equal(time.UnixMilli(0)))
			require.Zero(t, st.Now.Nanosecond())
		})
	}
}
