package owner

import (
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
)

// View is what readers see of the owner: an immutable snapshot. Reading it
// never waits for work.
type View struct {
	Feeds    map[model.ChangefeedID]*FeedView
	Captures []CaptureView // sorted by id
	// Ready says that the metadata was loaded and jobs are served.
	Ready bool
	// Incompatible says why changefeeds are not driven (captures of versions
	// that may not be mixed); nil when they are.
	Incompatible error
}

// CaptureView is one registered capture.
type CaptureView struct {
	Info     *model.CaptureInfo
	IsOwner  bool
	Liveness model.Liveness
	// Connected says that the capture's stream to this owner is open.
	Connected bool
}

// FeedView is one changefeed. What it points to is never modified.
type FeedView struct {
	ID   model.ChangefeedID
	Info *etcdmeta.ChangefeedInfo
	// Status is what is stored, nil until the status key exists. Its
	// checkpoint is what a restart would begin with: it never regresses,
	// whatever is killed.
	Status *etcdmeta.ChangefeedStatus
	// ResolvedTs is 0 while the changefeed does not run.
	ResolvedTs uint64
	// Tasks are the tables per capture, sorted by capture id.
	Tasks []Task
	// Scheduled says that every table has found its place since the changefeed
	// began to run here. A table that a DDL adds later does not change it.
	Scheduled bool
	// Stalled says why the checkpoint stands still; nil while it moves.
	Stalled *model.Stall
	// LastSyncedTs is the greatest commit-ts delivered downstream since the
	// changefeed started here; PullerResolvedTs the least resolved-ts of the
	// incoming spans. Both are 0 while unknown.
	LastSyncedTs     uint64
	PullerResolvedTs uint64
}

// Task is the work of one capture for one changefeed.
type Task struct {
	CaptureID model.CaptureID
	TableIDs  []int64 // physical ids, sorted
	// CheckpointTs and ResolvedTs are the least of these tables, as the capture
	// reported them last; 0 while unknown.
	CheckpointTs uint64
	ResolvedTs   uint64
}

// Job is an action of a user on a changefeed.
type Job struct {
	ID   model.ChangefeedID
	Type model.AdminJobType // AdminStop, AdminResume or AdminRemove
	// OverwriteCheckpointTs makes AdminResume continue from there; 0 keeps
	// the checkpoint.
	OverwriteCheckpointTs uint64
}

// ArrangeKind is what an Arrangement asks for.
type ArrangeKind int

// The kinds of arrangements.
const (
	ArrangeRebalance ArrangeKind = iota + 1 // spread the tables of ID evenly
	ArrangeMove                             // move Table of ID to Capture
	ArrangeDrain                            // take the tables of all changefeeds off Capture
)

// Arrangement is a wish of a user about where tables run.
type Arrangement struct {
	Kind    ArrangeKind
	ID      model.ChangefeedID // not for ArrangeDrain
	Table   int64
	Capture model.CaptureID
}
