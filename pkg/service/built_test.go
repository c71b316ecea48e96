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
	for name, change := range map[string]func(*config.ReplicaConfig){
		"consistent.level": func(c *config.ReplicaConfig) {
			c.Consistent.Level, c.Consistent.Storage = config.ConsistentLevelEventual, "file:///tmp/redo"
		},
	} {
		t.Run(name, func(t *testing.T) {
			uri := config.SinkURI("mysql://h/")
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

// TestRedoToCome: the settings of the redo log are kept while it is off, and a
// changefeed that wants it is refused whatever else they say.
func TestRedoToCome(t *testing.T) {
	for key, change := range map[string]func(*config.ConsistentConfig){
		"max-log-size":                         func(c *config.ConsistentConfig) { c.MaxLogSize = 7 },
		"flush-interval":                       func(c *config.ConsistentConfig) { c.FlushIntervalInMs = 77 },
		"meta-flush-interval":                  func(c *config.ConsistentConfig) { c.MetaFlushIntervalInMs = 77 },
		"encoding-worker-num":                  func(c *config.ConsistentConfig) { c.EncodingWorkerNum = 7 },
		"flush-worker-num":                     func(c *config.ConsistentConfig) { c.FlushWorkerNum = 7 },
		"storage":                              func(c *config.ConsistentConfig) { c.Storage = "file:///tmp/elsewhere" },
		"use-file-backend":                     func(c *config.ConsistentConfig) { c.UseFileBackend = true },
		"compression":                          func(c *config.ConsistentConfig) { c.Compression = "lz4" },
		"flush-concurrency":                    func(c *config.ConsistentConfig) { c.FlushConcurrency = 7 },
		"memory-usage.memory-quota-percentage": func(c *config.ConsistentConfig) { c.MemoryUsage.MemoryQuotaPercentage = 7 },
	} {
		t.Run(key, func(t *testing.T) {
			create := func(level string) (*config.ConsistentConfig, error) {
				info, err := servicetest.New().Service().Create(context.Background(), request(func(r *service.CreateRequest) {
					r.SinkURI = "mysql://h/"
					r.Config.Consistent.Level, r.Config.Consistent.Storage = level, "file:///tmp/redo"
					change(r.Config.Consistent)
				}))
				if err != nil {
					return nil, err
				}
				return info.Config.Consistent, nil
			}
			want := config.DefaultConsistentConfig()
			want.Storage = "file:///tmp/redo"
			change(want)
			got, err := create(config.ConsistentLevelNone)
			require.NoError(t, err)
			require.Equal(t, want, got)
			_, err = create(config.ConsistentLevelEventual)
			require.ErrorContains(t, err, "this version does not support consistent.level yet")
		})
	}
}
