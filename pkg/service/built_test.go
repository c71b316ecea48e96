package service_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/service"
	"github.com/tidemark/tidemark/pkg/service/servicetest"
)

// TestWhatIsNotBuiltIsRefused: by create and by update, naming the setting.
func TestWhatIsNotBuiltIsRefused(t *testing.T) {
	on := true
	for name, change := range map[string]func(*config.ReplicaConfig){
		"enable-sync-point": func(c *config.ReplicaConfig) { c.EnableSyncPoint = &on },
		"bdr-mode":          func(c *config.ReplicaConfig) { c.BDRMode = &on },
		"consistent.level": func(c *config.ReplicaConfig) {
			c.Consistent.Level, c.Consistent.Storage = config.ConsistentLevelEventual, "file:///tmp/redo"
		},
		"scheduler.enable-table-across-nodes": func(c *config.ReplicaConfig) { c.Scheduler.EnableTableAcrossNodes = true },
	} {
		t.Run(name, func(t *testing.T) {
			uri := config.SinkURI("mysql://h/")
			if name == "scheduler.enable-table-across-nodes" {
				uri = "blackhole://" // any other sink switches it off
			}
			c := servicetest.New()
			_, err := c.Service().Create(context.Background(), request(func(r *service.CreateRequest) {
				r.SinkURI = uri
				change(r.Config)
			}))
			require.ErrorIs(t, err, errors.ErrInvalidReplicaConfig)
			require.ErrorContains(t, err, "this version does not support "+name+" yet")

			f := servicetest.Feed("f", model.StateStopped, uri)
			c.Add(f)
			_, _, err = c.Service().Update(context.Background(), service.UpdateRequest{
				ID: f.ID, Config: func(old *config.ReplicaConfig) *config.ReplicaConfig { change(old); return old },
			})
			require.ErrorIs(t, err, errors.ErrChangefeedUpdateRefused)
			require.ErrorContains(t, err, name)
		})
	}
}
