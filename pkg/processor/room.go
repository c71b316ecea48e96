package processor

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// minInFlight and maxInFlight bound what a sink holds, in bytes; between them
// it is a quarter of the quota. Where many changefeeds share little memory it
// is less.
const (
	minInFlight = 2 << 20
	maxInFlight = 32 << 20
)

// lender tells what a changefeed may have lent out; a *sorter.Feed.
type lender interface {
	Quota() int64     // bytes of all its memory
	LendLimit() int64 // bytes of what the process has, changing and at least 1
}

// room bounds the bytes that are on their way to the sink. Its size follows
// the lender's limit: instead of the room getting smaller, what enters then
// weighs more.
type room struct {
	lender lender
	most   int64
	sem    *semaphore.Weighted
}

func newRoom(l lender) *room {
	most := min(max(l.Quota()/4, minInFlight), maxInFlight)
	return &room{lender: l, most: most, sem: semaphore.NewWeighted(most)}
}

// size is how many bytes have room at the moment.
func (r *room) size() int64 { return min(r.most, r.lender.LendLimit()) }

// weigh is what bytes count as. More than there is room for goes alone.
func (r *room) weigh(bytes int64) int64 {
	size := r.size()
	return min(bytes, size) * r.most / size
}

// enter waits for room and returns the weight to leave with. The error is the
// context's.
func (r *room) enter(ctx context.Context, bytes int64) (weight int64, err error) {
	weight = r.weigh(bytes)
	return weight, r.sem.Acquire(ctx, weight)
}

// fit exchanges a weight for that of what it turned out to be. After an error
// there is nothing to leave with.
func (r *room) fit(ctx context.Context, weight, bytes int64) (int64, error) {
	want := r.weigh(bytes)
	if want <= weight {
		r.sem.Release(weight - want)
		return want, nil
	}
	// To keep the one while waiting for the other could make all wait for each other.
	r.sem.Release(weight)
	return want, r.sem.Acquire(ctx, want)
}

func (r *room) leave(weight int64) { r.sem.Release(weight) }
