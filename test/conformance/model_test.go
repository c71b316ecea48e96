package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/test/cluster"
)

// The writers of TestConcurrentWriters share this many ids, so that most calls
// meet another one about the same changefeed.
const (
	modelIDs     = 6
	modelWriters = 24
	modelTime    = 10 * time.Second
)

// visibleWithin is how soon a read must see what a write has made.
const visibleWithin = 2 * time.Second

// event is one call as its caller saw it. A changefeed is told from an earlier
// one of the same id by its generation, which its sink URI carries.
type event struct {
	kind       string // create, delete or see
	generation string
	begin, end time.Time
}

// history is what happened to one id.
type history struct {
	mu     sync.Mutex
	events []event
}

func (h *history) add(e event) {
	e.end = time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

// TestConcurrentWriters has many clients create, pause, resume, delete and
// read the same few changefeeds, and holds what they saw against what may
// happen to one.
func TestConcurrentWriters(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	histories := make([]history, modelIDs)
	group, groupCtx := errgroup.WithContext(ctx)
	end := time.Now().Add(modelTime)
	for n := range modelWriters {
		group.Go(func() error {
			w := &writer{
				name: fmt.Sprintf("w%d", n), histories: histories, rnd: rand.New(rand.NewPCG(1, uint64(n))),
			}
			for time.Now().Before(end) {
				if err := w.call(groupCtx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	total := 0
	for i := range histories {
		total += len(histories[i].events)
		require.NoError(t, histories[i].check(), "id m%d", i)
	}
	t.Logf("%d calls of consequence", total)
	requireAgreement(ctx, t)
	requireObedience(ctx, t)
	removeFeeds(ctx, t)
	require.Empty(t, storedIDs(ctx, t))
}

// writer is one of the clients.
type writer struct {
	name      string
	calls     int
	histories []history
	rnd       *rand.Rand
}

// call makes one random call about a random id.
func (w *writer) call(ctx context.Context) error {
	i := w.rnd.IntN(len(w.histories))
	id, h := fmt.Sprintf("m%d", i), &w.histories[i]
	path := "/api/v2/changefeeds/" + id
	e := event{begin: time.Now()}
	switch w.rnd.IntN(12) {
	case 0, 1:
		w.calls++
		e.kind, e.generation = "create", fmt.Sprintf("%s-%d", w.name, w.calls)
		body := fmt.Sprintf(`{"changefeed_id":%q,"sink_uri":"blackhole://?generation=%s"}`, id, e.generation)
		status, answer, err := w.send(ctx, "POST", "/api/v2/changefeeds", body)
		if err != nil {
			return err
		}
		switch {
		case status == 200:
			h.add(e)
		case !strings.Contains(answer, "ErrChangeFeedAlreadyExists") && !strings.Contains(answer, "ErrMetaOpFailed"):
			return fmt.Errorf("create %s: %d %s", id, status, answer)
		}
		return nil
	case 2:
		e.kind = "delete"
		status, answer, err := w.send(ctx, "DELETE", path, "")
		if err == nil && status != 200 {
			err = fmt.Errorf("delete %s: %d %s", id, status, answer)
		}
		h.add(e)
		return err
	case 3, 4:
		return w.write(ctx, path+"/pause", "")
	case 5, 6:
		return w.write(ctx, path+"/resume", "{}")
	default:
		return w.look(ctx, path, h, e)
	}
}

// write pauses or resumes, which succeeds unless there is nothing.
func (w *writer) write(ctx context.Context, path, body string) error {
	status, answer, err := w.send(ctx, "POST", path, body)
	if err == nil && status != 200 && !strings.Contains(answer, "ErrChangeFeedNotExists") {
		err = fmt.Errorf("%s: %d %s", path, status, answer)
	}
	return err
}

// look reads a changefeed; what it shows must be possible.
func (w *writer) look(ctx context.Context, path string, h *history, e event) error {
	status, answer, err := w.send(ctx, "GET", path+"/meta_info", "")
	if err != nil {
		return err
	}
	e.kind = "see"
	switch {
	case status == 200:
		_, rest, _ := strings.Cut(answer, "generation=")
		e.generation, _, _ = strings.Cut(rest, `"`)
		if !strings.Contains(answer, `"state":"normal"`) && !strings.Contains(answer, `"state":"stopped"`) {
			return fmt.Errorf("%s: %s", path, answer)
		}
	case !strings.Contains(answer, "ErrChangeFeedNotExists"):
		return fmt.Errorf("%s: %d %s", path, status, answer)
	}
	h.add(e)
	return nil
}

func (w *writer) send(ctx context.Context, method, path, body string) (int, string, error) {
	a, err := exchange(ctx, shared.server.Addr, method, path, nil, body)
	if err != nil {
		return 0, "", err
	}
	return a.status, a.body, nil
}

// check looks for what cannot happen to one id.
func (h *history) check() error {
	created := map[string]event{}
	var creates, deletes []event
	for _, e := range h.events {
		switch e.kind {
		case "create":
			created[e.generation] = e
			creates = append(creates, e)
		case "delete":
			deletes = append(deletes, e)
		}
	}
	for _, e := range h.events {
		if e.kind != "see" {
			continue
		}
		if err := possible(e, created, creates, deletes); err != nil {
			return err
		}
	}
	return succession(creates, deletes)
}

// possible tells why a read cannot have seen what it saw.
func possible(e event, created map[string]event, creates, deletes []event) error {
	if e.generation != "" {
		made, ok := created[e.generation]
		if !ok || e.end.Before(made.begin) {
			return fmt.Errorf("%s was seen, but never made", e.generation)
		}
		for _, d := range deletes {
			if d.begin.After(made.end) && e.begin.After(d.end) {
				return fmt.Errorf("%s was seen %s after its deletion", e.generation, e.begin.Sub(d.end))
			}
		}
		return nil
	}
	// Nothing was seen: then nothing may have been there all the time.
	for _, c := range creates {
		lost := c.end.Add(visibleWithin).Before(e.begin) && !slices.ContainsFunc(deletes, func(d event) bool {
			return d.end.After(c.begin) && d.begin.Before(e.end)
		})
		if lost {
			return fmt.Errorf("%s was made %s ago, not deleted, and is not there", c.generation, e.begin.Sub(c.end))
		}
	}
	return nil
}

// succession: between two that were made there was a deletion.
func succession(creates, deletes []event) error {
	slices.SortFunc(creates, func(a, b event) int { return a.end.Compare(b.end) })
	for i := 1; i < len(creates); i++ {
		a, b := creates[i-1], creates[i]
		if !slices.ContainsFunc(deletes, func(d event) bool { return d.begin.Before(b.end) && d.end.After(a.begin) }) {
			return fmt.Errorf("%s and %s were both made, with no deletion between", a.generation, b.generation)
		}
	}
	return nil
}

// requireAgreement compares what the API lists with what etcd holds.
func requireAgreement(ctx context.Context, t *testing.T) {
	require.NoError(t, cluster.Until(ctx, "list and etcd to agree", func() (bool, error) {
		listed, err := listedIDs(ctx)
		stored := storedIDs(ctx, t)
		slices.Sort(stored)
		return err == nil && slices.Equal(listed, stored), fmt.Errorf("listed %v, stored %v, %v", listed, stored, err)
	}))
}

func listedIDs(ctx context.Context) ([]string, error) {
	var list struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	err := shared.server.API.Do(ctx, "GET", "/api/v2/changefeeds?state=all", nil, &list)
	ids := []string{}
	for _, i := range list.Items {
		ids = append(ids, i.ID)
	}
	return ids, err
}

// requireObedience: after all that, each changefeed still does as it is told.
func requireObedience(ctx context.Context, t *testing.T) {
	ids, err := listedIDs(ctx)
	require.NoError(t, err)
	api := shared.server.API
	for _, id := range ids {
		require.NoError(t, api.Pause(ctx, id))
		require.NoError(t, api.Resume(ctx, id))
		require.NoError(t, api.WaitState(ctx, id, "normal"))
		s, err := api.Status(ctx, id)
		require.NoError(t, err)
		require.NoError(t, api.WaitCheckpoint(ctx, id, s.CheckpointTs+1))
	}
}
