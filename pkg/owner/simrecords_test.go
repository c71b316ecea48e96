package owner

import (
	"context"
	stderrors "errors"
	"reflect"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
)

var errNoAnswer = stderrors.New("etcd does not answer")

// simRecords is the etcd of one term.
type simRecords struct{ term *simTerm }

func (r simRecords) copy() *etcdmeta.Feed {
	feed := *r.term.s.stored
	feed.Info = feed.Info.Clone()
	if feed.Status != nil {
		status := *feed.Status
		feed.Status = &status
	}
	return &feed
}

func (r simRecords) GetFeed(context.Context, model.ChangefeedID) (*etcdmeta.Feed, error) {
	return r.copy(), nil
}

func (r simRecords) ModifyFeed(_ context.Context, _ model.ChangefeedID, modify func(*etcdmeta.Feed) error) (*etcdmeta.Feed, error) {
	s := r.term.s
	if r.term.rev != s.owner().rev {
		return nil, errors.ErrNotOwner.New()
	}
	feed := r.copy()
	if err := modify(feed); err != nil {
		return nil, err
	}
	s.rev++
	if !reflect.DeepEqual(feed.Info, s.stored.Info) {
		feed.InfoRev = s.rev
	}
	if feed.Status != nil && (s.stored.Status == nil || *feed.Status != *s.stored.Status) {
		feed.StatusRev = s.rev
	}
	s.store(feed)
	return r.copy(), nil
}

func (r simRecords) WriteStatuses(_ context.Context, writes []etcdmeta.StatusWrite) ([]int64, error) {
	s := r.term.s
	if r.term.rev != s.owner().rev {
		return nil, errors.ErrNotOwner.New()
	}
	trouble := s.rng.Intn(20)
	if trouble == 0 {
		return nil, errNoAnswer
	}
	revs := make([]int64, len(writes))
	for i, w := range writes {
		if w.Rev == s.stored.StatusRev {
			s.rev++
			feed := r.copy()
			feed.Status, feed.StatusRev = &w.Status, s.rev
			s.store(feed)
			revs[i] = s.rev
		}
	}
	if trouble == 1 { // it was stored, and the answer is lost
		return nil, errNoAnswer
	}
	return revs, nil
}

func (r simRecords) RemoveFeed(context.Context, model.ChangefeedID) (int64, error) {
	r.term.s.fail("the changefeed is removed")
	return 0, nil
}

func (s *sim) store(feed *etcdmeta.Feed) {
	if feed.CheckpointTs() < s.stored.CheckpointTs() {
		s.fail("the stored checkpoint goes back from %d to %d", s.stored.CheckpointTs(), feed.CheckpointTs())
	}
	if bound, table := s.bound(); feed.CheckpointTs() > bound {
		s.fail("the stored checkpoint is %d, but rows of table %d after %d are not delivered; %s", feed.CheckpointTs(), table, bound, s.describe())
	}
	s.stored = feed
	for _, term := range s.terms {
		term.unseen = append(term.unseen, feed)
	}
}

// watch tells the owner of what was stored: later, in order and, where history
// was compacted away, not of all of it.
func (term *simTerm) watch() {
	s := term.s
	if term.blind || len(term.unseen) == 0 || s.rng.Intn(3) > 0 {
		return
	}
	if s.rng.Intn(10) == 0 {
		term.unseen = term.unseen[len(term.unseen)-1:]
	}
	n := 1 + s.rng.Intn(len(term.unseen))
	for _, stored := range term.unseen[:n] {
		if stored == nil || n == len(term.unseen) && term != s.owner() {
			term.o.abort(errors.ErrNotOwner.New())
			return
		}
		term.o.onRecord(feedID, stored)
	}
	term.unseen = term.unseen[n:]
}
