package etcdmeta

import (
	"context"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tidemark/tidemark/pkg/model"
)

// State is the whole metadata of a cluster at one revision. It is not safe
// for concurrent use; a holder keeps it current by applying watched updates.
type State struct {
	Revision  int64
	Feeds     map[model.ChangefeedID]*Feed
	Captures  map[model.CaptureID]*model.CaptureInfo
	Positions map[Key]struct{}
	// Candidates are the election keys; the least create revision is the owner's.
	Candidates map[string]Candidate
	// Bad are keys whose values could not be parsed, with the reason.
	Bad map[string]error

	keys Keys
}

// Candidate is one key of the election.
type Candidate struct {
	Capture   model.CaptureID
	CreateRev int64
	ModRev    int64
}

// Update is what one watch answer changed.
type Update struct {
	Revision int64 // of the last event
	Events   []*clientv3.Event
}

// Changes tells what applying an update touched.
type Changes struct {
	Feeds    map[model.ChangefeedID]struct{}
	Captures bool
	Owner    bool
	// Stopped are captures of which nothing goes on any more, see
	// model.CaptureInfo. Their keys vanish now or soon.
	Stopped []model.CaptureID
}

// Load reads the whole state.
func (c *Client) Load(ctx context.Context) (*State, error) { return c.load(ctx, c.keys.Prefix()) }

// LoadMeta reads captures and election only.
func (c *Client) LoadMeta(ctx context.Context) (*State, error) {
	return c.load(ctx, c.keys.MetaPrefix())
}

func (c *Client) load(ctx context.Context, prefix string) (*State, error) {
	resp, err := c.get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	s := &State{
		Revision: resp.Header.Revision, keys: c.keys,
		Feeds: map[model.ChangefeedID]*Feed{}, Captures: map[model.CaptureID]*model.CaptureInfo{},
		Positions: map[Key]struct{}{}, Candidates: map[string]Candidate{}, Bad: map[string]error{},
	}
	changes := newChanges()
	for _, kv := range resp.Kvs {
		s.put(kv, &changes)
	}
	return s, nil
}

// CaptureIDs is the set of the registered captures.
func (s *State) CaptureIDs() map[model.CaptureID]struct{} {
	ids := make(map[model.CaptureID]struct{}, len(s.Captures))
	for id := range s.Captures {
		ids[id] = struct{}{}
	}
	return ids
}

// Owner is the capture that holds the election; ok is false when there is none.
func (s *State) Owner() (owner OwnerInfo, ok bool) {
	least := int64(0)
	for key, c := range s.Candidates {
		if least == 0 || c.CreateRev < least {
			least = c.CreateRev
			owner = OwnerInfo{Capture: c.Capture, Fence: Fence{Key: key, Rev: c.ModRev}}
		}
	}
	return owner, least != 0
}

// Apply brings the state to the update's revision.
func (s *State) Apply(u Update) Changes {
	changes := newChanges()
	for _, ev := range u.Events {
		if ev.Type == clientv3.EventTypeDelete {
			s.remove(string(ev.Kv.Key), &changes)
		} else {
			s.put(ev.Kv, &changes)
		}
	}
	s.Revision = max(s.Revision, u.Revision)
	return changes
}

func newChanges() Changes { return Changes{Feeds: map[model.ChangefeedID]struct{}{}} }

func (s *State) put(kv *mvccpb.KeyValue, changes *Changes) {
	text := string(kv.Key)
	key, ok := s.keys.Parse(text)
	if !ok {
		return
	}
	var err error
	switch key.Kind {
	case KindOwner:
		s.Candidates[text] = Candidate{Capture: string(kv.Value), CreateRev: kv.CreateRevision, ModRev: kv.ModRevision}
		changes.Owner = true
	case KindCapture:
		var info *model.CaptureInfo
		if info, err = decodeCapture(key.Capture, kv.Value); err == nil {
			s.Captures[key.Capture] = info
			if info.Stopped {
				changes.Stopped = append(changes.Stopped, key.Capture)
			}
		}
		changes.Captures = true
	case KindInfo, KindStatus:
		err = s.putFeed(key, kv)
		changes.Feeds[key.Feed] = struct{}{}
	case KindPosition:
		s.Positions[key] = struct{}{}
		changes.Feeds[key.Feed] = struct{}{}
	}
	if err != nil {
		s.Bad[text] = err
	} else {
		delete(s.Bad, text)
	}
}

// putFeed replaces the feed's record, so that a record handed out before
// stays as it was.
func (s *State) putFeed(key Key, kv *mvccpb.KeyValue) (err error) {
	feed := s.cloneFeed(key.Feed)
	if key.Kind == KindInfo {
		var info *ChangefeedInfo
		if info, err = decodeInfo(key.Feed, kv.Value); err != nil {
			return err
		}
		feed.Info, feed.InfoRev = info, kv.ModRevision
	} else {
		var status *ChangefeedStatus
		if status, err = decodeStatus(key.Feed, kv.Value); err != nil {
			return err
		}
		feed.Status, feed.StatusRev = status, kv.ModRevision
	}
	s.Feeds[key.Feed] = feed
	return nil
}

func (s *State) remove(text string, changes *Changes) {
	key, ok := s.keys.Parse(text)
	if !ok {
		return
	}
	delete(s.Bad, text)
	switch key.Kind {
	case KindOwner:
		delete(s.Candidates, text)
		changes.Owner = true
	case KindCapture:
		delete(s.Captures, key.Capture)
		changes.Captures = true
	case KindInfo, KindStatus:
		s.removeFeedKey(key)
		changes.Feeds[key.Feed] = struct{}{}
	case KindPosition:
		delete(s.Positions, key)
		changes.Feeds[key.Feed] = struct{}{}
	}
}

func (s *State) removeFeedKey(key Key) {
	feed := s.cloneFeed(key.Feed)
	if key.Kind == KindInfo {
		feed.Info, feed.InfoRev = nil, 0
	} else {
		feed.Status, feed.StatusRev = nil, 0
	}
	if feed.Info == nil && feed.Status == nil {
		delete(s.Feeds, key.Feed)
		return
	}
	s.Feeds[key.Feed] = feed
}

func (s *State) cloneFeed(id model.ChangefeedID) *Feed {
	if old, ok := s.Feeds[id]; ok {
		feed := *old
		return &feed
	}
	return &Feed{ID: id}
}

// rewatchAfter is how long a silent watch is trusted after progress was asked for.
const rewatchAfter = 10 * time.Second

// Watch sends the updates after a revision until ctx ends or history is lost
// (compacted); then the channel is closed and the holder has to Load again.
// A connection that breaks is renewed inside. The receiver must keep up.
func (c *Client) Watch(ctx context.Context, prefix string, afterRev int64) <-chan Update {
	out := make(chan Update, 64)
	go func() {
		defer close(out)
		for ctx.Err() == nil {
			var ok bool
			if afterRev, ok = c.watchOnce(ctx, prefix, afterRev, out); !ok {
				return
			}
		}
	}()
	return out
}

// watchOnce runs one watch until it breaks or is silent for too long. ok is
// false when it must not be renewed.
func (c *Client) watchOnce(ctx context.Context, prefix string, afterRev int64, out chan<- Update) (rev int64, ok bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := c.etcd.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithRev(afterRev+1))
	silence := time.NewTicker(time.Second)
	defer silence.Stop()
	heard := time.Now()
	for {
		select {
		case <-ctx.Done():
			return afterRev, false
		case resp, open := <-watch:
			if !open {
				return afterRev, pause(ctx, 100*time.Millisecond)
			}
			heard = time.Now()
			if resp.CompactRevision != 0 {
				return afterRev, false
			}
			if resp.Err() != nil {
				return afterRev, pause(ctx, 500*time.Millisecond)
			}
			if len(resp.Events) == 0 {
				continue
			}
			// Not the header's revision: more events up to that may follow.
			afterRev = resp.Events[len(resp.Events)-1].Kv.ModRevision
			select {
			case out <- Update{Revision: afterRev, Events: resp.Events}:
			case <-ctx.Done():
				return afterRev, false
			}
		case <-silence.C:
			quiet := time.Since(heard)
			if quiet > rewatchAfter {
				return afterRev, true
			}
			if quiet > time.Second {
				_ = c.etcd.RequestProgress(clientv3.WithRequireLeader(ctx))
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
