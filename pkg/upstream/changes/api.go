// Package changes subscribes to the row changes of key spans over the store's
// cdcpb protocol. It follows regions as they split, merge and move, resumes
// broken streams without loss, and tells each span's resolved-ts.
package changes

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/model"
)

// Consumer takes what a subscription delivers. None of the methods may call
// Subscription.Close.
type Consumer interface {
	// OnRows delivers rows of the span. The slice is valid during the call
	// only, the changes may be kept. Calls for one span may come from several
	// goroutines (one per stream). A call that blocks holds back everything
	// that comes from the same store, down to the store itself.
	OnRows(rows []model.RawChange)
	// OnResolved tells that every row with CommitTs <= ts was delivered by
	// OnRows. It rises strictly and is not called concurrently for one span.
	OnResolved(ts uint64)
	// OnError tells that the subscription is dead for a reason that no retry
	// cures. No call follows it.
	OnError(err error)
}

// Options describe a subscription.
type Options struct {
	Span    model.Span // raw keys; an empty end means no bound
	StartTs uint64     // rows with CommitTs <= StartTs are never delivered
	// FilterLoop leaves out rows that another changefeed has written.
	FilterLoop bool
	Consumer   Consumer
	// Changefeed is whose figures the subscription counts among; zero for one
	// that is shared.
	Changefeed model.ChangefeedID
	// First subscriptions do not queue behind others for the scan of their
	// history: for the DDL stream, which everything waits for.
	First bool
	// Admit, when set, is asked before the first scan of history of this
	// subscription, for instance whether there is memory for it. It must not
	// block, nor call the subscription. False delays the start; one that
	// waited for long is started all the same, one at a time. Scans that
	// started are not held back: their rows become useful only when all are
	// done. What reaches back less than a few seconds is not asked about, and
	// nothing is after Close.
	Admit func() bool
	// Unfinished, when set, is told by how many bytes the rows that wait here
	// for the end of their transactions have become more, or fewer. It must not
	// block, nor call the subscription; Close takes back what is left. Nothing
	// else holds these rows up: their commit could then never come.
	Unfinished func(delta int64)
}

// Status says how far a subscription is and what it waits for.
type Status struct {
	ResolvedTs  uint64
	Regions     int // registered or wanted
	Initialized int // whose history is read completely
	// Slowest is the region that holds ResolvedTs back, 0 while its place is
	// being looked up.
	Slowest uint64
	Reason  Reason
	Detail  string    // what the reason is about, such as the last error
	Since   time.Time // when the reason began
}

// Reason is what the slowest region of a subscription is doing.
type Reason string

// The reasons.
const (
	ReasonLive     Reason = "live"            // receives changes
	ReasonLookup   Reason = "region-lookup"   // its place is being looked up
	ReasonQueued   Reason = "scan-queued"     // waits for its turn to read history
	ReasonScanning Reason = "scanning"        // history is being read
	ReasonStore    Reason = "store-retry"     // the store is not reachable
	ReasonBusy     Reason = "store-busy"      // the store asked to come back later
	ReasonRegion   Reason = "region-retry"    // the region moved, split or merged
	ReasonLock     Reason = "waiting-on-lock" // an unfinished transaction holds it back
	ReasonClosed   Reason = "closed"          // closed, or dead after OnError
)

// KeyRange is a range of keys in the store's memcomparable encoding. An empty
// End means no bound.
type KeyRange struct {
	Start, End []byte
}

// Region is where a range of encoded keys lives.
type Region struct {
	ID      uint64
	ConfVer uint64
	Version uint64
	Start   []byte
	End     []byte // empty: no bound
	Leader  uint64 // store id; 0 when there is none at the moment
}

// Regions tells where key ranges live.
type Regions interface {
	// Scan returns the first limit regions that overlap the ranges, which are
	// sorted and disjoint. An error means that it may be tried again.
	Scan(ctx context.Context, ranges []KeyRange, limit int) ([]Region, error)
	// StoreAddr returns the dial address of a store. ErrVersionIncompatible
	// is final, every other error may be tried again.
	StoreAddr(ctx context.Context, storeID uint64) (string, error)
}

// Locks resolves locks that unfinished transactions left behind.
type Locks interface {
	// Resolve cleans up after dead transactions that started at or before
	// maxTs in the range of raw keys, and returns the number of locks that it
	// met. An error means that it may be tried again.
	Resolve(ctx context.Context, start, end []byte, maxTs uint64) (int, error)
}

// Config sets a Client up. Zero durations and numbers mean their defaults.
type Config struct {
	ClusterID  uint64
	Version    string // our release version, such as 8.5.3
	TLS        *tls.Config
	Regions    Regions
	Locks      Locks         // nil resolves none
	Now        func() uint64 // PD time as a TSO
	Logger     *zap.Logger
	Registerer prometheus.Registerer

	StorePause   time.Duration // before a broken stream is opened again: 1 s
	RetryPause   time.Duration // the least pause before a region is tried again: 20 ms
	LookupPause  time.Duration // before a failed region lookup is repeated: 100 ms
	IdleTimeout  time.Duration // after which a stream without regions is closed: 60 s
	LockInterval time.Duration // between two looks for spans that stand still: 2 s
	LockAge      time.Duration // how long a span must stand still: 4 s
	LockRepeat   time.Duration // before one region is cleaned again: 10 s
	AdmitTimeout time.Duration // after which Options.Admit is overruled: 10 s
	MaxScans     int           // most concurrent scans per store: 256
}
