package mysql

import (
	"context"
	"database/sql/driver"
	stderrors "errors"
	"strings"
	"testing"
	"time"

	gomysql "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

func withSyncPoints(c *config.ReplicaConfig) {
	on, retention := true, 2*time.Hour
	c.EnableSyncPoint, c.SyncPointRetention = &on, &retention
}

const (
	insertPoint = "INSERT IGNORE INTO tidb_cdc.syncpoint_v1 (ticdc_cluster_id, changefeed, primary_ts, secondary_ts) VALUES (captures, fake, "
	deleteOld   = "DELETE IGNORE FROM tidb_cdc.syncpoint_v1 WHERE ticdc_cluster_id = captures AND changefeed = fake AND created_at < NOW() - INTERVAL 7200 SECOND"
)

func TestSyncPointStatements(t *testing.T) {
	s, f := fakeSink(t, "", true, withSyncPoints)
	now := time.Now()
	s.syncPoints.now = func() time.Time { return now }
	f.currentTs = 450
	require.NoError(t, s.RecordSyncPoint(t.Context(), 400))
	require.Equal(t, []string{
		ownSchema, syncPointTable,
		"BEGIN", "SELECT @@tidb_current_ts", insertPoint + "400, 450)", "SET GLOBAL tidb_external_ts = 450", deleteOld, "COMMIT",
	}, f.sent())

	f.currentTs = 550
	now = now.Add(time.Hour)
	require.NoError(t, s.RecordSyncPoint(t.Context(), 500))
	require.Equal(t, []string{
		"BEGIN", "SELECT @@tidb_current_ts", insertPoint + "500, 550)", "SET GLOBAL tidb_external_ts = 550", "COMMIT",
	}, f.sent(), "no clean-up before the retention has passed again")

	f.currentTs = 650
	now = now.Add(time.Hour)
	f.answer = func(text string) error {
		if strings.HasPrefix(text, "DELETE") {
			return &gomysql.MySQLError{Number: 1105}
		}
		return nil
	}
	require.NoError(t, s.RecordSyncPoint(t.Context(), 600), "a clean-up that fails is no error")
	require.Equal(t, []string{
		"BEGIN", "SELECT @@tidb_current_ts", insertPoint + "600, 650)", "SET GLOBAL tidb_external_ts = 650", deleteOld, "COMMIT",
	}, f.sent())
}

// A point that an earlier run recorded stays, and readers are not shown what
// the downstream is now: that run has gone on from there.
func TestSyncPointIsKnown(t *testing.T) {
	s, f := fakeSink(t, "", true, withSyncPoints)
	f.affected = func(string) int64 { return 0 }
	require.NoError(t, s.RecordSyncPoint(t.Context(), 400))
	require.Equal(t, []string{
		ownSchema, syncPointTable, "BEGIN", "SELECT @@tidb_current_ts", insertPoint + "400, 0)", "ROLLBACK",
	}, f.sent())
}

// TestSyncPointErrors fails one statement once, or always.
func TestSyncPointErrors(t *testing.T) {
	for _, c := range []struct {
		name, statement string
		err             error
		tries           int
		code            string // of a final error
	}{
		{"write conflict at the commit", "COMMIT", &gomysql.MySQLError{Number: errTiKVLockConflict}, 2, ""},
		{"lost connection", "INSERT", gomysql.ErrInvalidConn, 2, ""},
		{"the external timestamp went on", "SET GLOBAL", &gomysql.MySQLError{Number: errTiKVLockConflict}, 2, ""},
		{"old TiDB without external timestamp", "SET GLOBAL", &gomysql.MySQLError{Number: errUnknownVariable}, 1, ""},
		{"the capture has lost its lease", "SELECT", errors.ErrCaptureSuicide.New(), 1, "CDC:ErrCaptureSuicide"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, f := fakeSink(t, "", true, withSyncPoints)
			failed := false
			f.answer = func(text string) error {
				if failed || !strings.HasPrefix(text, c.statement) {
					return nil
				}
				failed = true
				return c.err
			}
			err := s.RecordSyncPoint(t.Context(), 400)
			require.True(t, failed)
			require.Equal(t, c.code, errors.CodeOf(err))
			tries := 0
			for _, text := range f.sent() {
				if text == "BEGIN" {
					tries++
				}
			}
			require.Equal(t, c.tries, tries)
			require.Empty(t, s.Status())
		})
	}
}

func TestSyncPointGivesUp(t *testing.T) {
	s, f := fakeSink(t, "", true, withSyncPoints)
	f.answer = func(text string) error {
		if text == syncPointTable {
			return driver.ErrBadConn // is retried without a wait once
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- s.RecordSyncPoint(ctx, 400) }()
	require.Eventually(t, func() bool { return s.Status().Reason == model.StallSink }, eventually, tick)
	require.False(t, s.Status().RetryAt.IsZero())
	cancel()
	require.ErrorIs(t, <-result, context.Canceled)
	require.Empty(t, s.Status())
}

// What another capture may have written meanwhile is not recorded.
func TestSyncPointIsFenced(t *testing.T) {
	s, f := fakeSink(t, "", true, withSyncPoints)
	valid := true
	s.settings.fence = func() error {
		if valid {
			return nil
		}
		return errors.ErrCaptureSuicide.New()
	}
	f.answer = func(text string) error {
		valid = text != syncPointStart
		return nil
	}
	require.ErrorIs(t, s.RecordSyncPoint(t.Context(), 400), errors.ErrCaptureSuicide)
	require.Equal(t, []string{ownSchema, syncPointTable, "BEGIN", "SELECT @@tidb_current_ts", "ROLLBACK"}, f.sent())
}

// Downstreams that cannot do what the changefeed asks for are refused, by New
// and by Probe.
func TestUnfitDownstream(t *testing.T) {
	startMaria(t)
	addr, on := maria.server.Addr(), true
	for name, c := range map[string]struct {
		change func(*config.ReplicaConfig)
		text   string
	}{
		"sync point": {withSyncPoints, "sync points need TiDB downstream, which " + addr + " is not"},
		"bdr": {func(c *config.ReplicaConfig) { c.BDRMode = &on },
			"BDR mode needs TiDB v6.5 or later downstream: " + addr + " has no variable tidb_cdc_write_source"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config.DefaultReplicaConfig()
			c.change(cfg)
			o := sink.Options{
				Changefeed: model.DefaultChangefeedID("f"), Config: cfg, TimeZone: time.UTC,
				URI: config.SinkURI("mysql://root@" + addr + "/"),
			}
			_, err := New(t.Context(), o)
			for _, err := range []error{err, Probe(t.Context(), o)} {
				require.True(t, stderrors.Is(err, errors.ErrSinkURIInvalid), "%v", err)
				require.ErrorContains(t, err, c.text)
			}
		})
	}
}
