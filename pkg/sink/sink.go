// Package sink defines what every sink does: it takes batches of rows and DDL
// events and brings them downstream. The implementations live in the packages
// below it, pkg/sink/factory chooses one by the scheme of the address.
package sink

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
)

// Sink delivers one changefeed. Processors write rows through their own Sink,
// the owner writes DDL and watermarks through another one. Write may be called
// from several goroutines, but batches of one span come one after the other.
type Sink interface {
	// Write takes over the batch and blocks for back-pressure. The sink applies
	// the changes of one key in the order of the batches and calls b.Done once
	// per batch, in any order. Rows and their bytes are reused after Done. When
	// Write returns an error, or Done got one, the sink is broken: nothing is
	// delivered any more. A batch that Write refused with an error gets no Done.
	Write(ctx context.Context, b *model.RowBatch) error
	// WriteDDL executes or announces one DDL and returns when that is durable
	// downstream. It retries by itself: an error is final for this sink.
	WriteDDL(ctx context.Context, ev *model.DDLEvent) error
	// WriteWatermark tells that everything up to ts was delivered. An error is
	// final. Sinks without watermarks do nothing.
	WriteWatermark(ctx context.Context, ts uint64) error
	// Status says what the sink is doing when it makes no progress. It is
	// cheap and never blocks.
	Status() Status
	// Close stops every goroutine of the sink and waits for them. Batches that
	// are not durable by then get Done with an error, or no Done at all.
	Close()
}

// TableFollower is a Sink whose owner's part depends on the tables: watermarks
// go to the topics of all of them.
type TableFollower interface {
	// FollowTables tells which table versions are replicated from now on. The
	// owner calls it before the first WriteWatermark and after every change of
	// the set, not while it is in another call. It does no I/O.
	FollowTables(tables []*model.Table)
}

// SyncPointRecorder is a Sink to a database that can be read as of a moment.
type SyncPointRecorder interface {
	// RecordSyncPoint notes downstream that what can be read there now is the
	// upstream as of ts, and returns when that is durable. The caller makes
	// sure that it is so, and stays so, until the call returns. A point that is
	// there already stays as it is. It retries by itself: an error is final for
	// this sink.
	RecordSyncPoint(ctx context.Context, ts uint64) error
}

// Status is a sink's own account of itself. The zero value means that all is well.
type Status struct {
	Reason  string    // "", model.StallSink or model.StallSinkBusy
	Code    string    // of the last error, for StallSink
	Detail  string    // for people: the last error, without secrets
	Since   time.Time // when the reason began
	RetryAt time.Time // when the next try starts; zero if unknown
}

// Options describe the sink of a changefeed. All fields but the last two are
// required, of queue sinks also ClusterID and Capture, with sync points also
// ClusterID; a nil Logger logs nothing and a nil Registerer registers nothing.
type Options struct {
	Changefeed model.ChangefeedID
	ClusterID  string // of the captures; messages of some protocols and sync points show it
	Capture    string // advertised address of this capture; names it to the downstream
	URI        config.SinkURI
	Config     *config.ReplicaConfig
	TimeZone   *time.Location // of the server: rows and sessions use it unless the URI names another
	// SourceID, from 1 to 15, is the upstream's mark, with which TiDB sees
	// transactions as written by a changefeed. Probes need none.
	SourceID uint64
	// Fence is asked right before something is written. Its error, which has a
	// code, says that another capture may be writing by now: this sink is
	// broken then. Nil lets everything pass.
	Fence      func() error
	Logger     *zap.Logger
	Registerer prometheus.Registerer
}
