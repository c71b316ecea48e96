// Package owner drives all changefeeds of a cluster while this capture holds
// the election: their state machines, the placement of their tables on
// captures, the DDL barrier, the stored checkpoints and the GC safepoint.
package owner

import (
	"context"
)

// Owner is the work of one term of office. A new term makes a new Owner.
type Owner struct {
	resign chan struct{}
}

// View returns the current snapshot. Never nil.
func (o *Owner) View() *View { return &View{} }

// Submit hands a job to its changefeed and returns when it was accepted and
// stored; for AdminRemove when every key of the changefeed is gone. A job that
// the state does not allow is ignored without error. Errors:
// ErrChangeFeedNotExists, ErrOwnerNotFound when the term ends meanwhile.
func (o *Owner) Submit(ctx context.Context, job Job) error { return nil }

// Resign asks the capture to give the election up; it does not wait.
func (o *Owner) Resign() {}
