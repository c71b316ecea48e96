package owner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
)

func coded(code *errors.Code) *model.RunningError {
	return &model.RunningError{Code: code.Text(), Message: code.New().Error()}
}

// newTestMachine has no jitter.
func newTestMachine(state model.FeedState, checkpoint uint64, now time.Time) *machine {
	m := newMachine(nil, func() float64 { return 0.5 })
	m.load(state, checkpoint, now)
	return m
}

func TestJobs(t *testing.T) {
	all := []model.FeedState{
		model.StateNormal, model.StatePending, model.StateWarning, model.StateStopped,
		model.StateFailed, model.StateFinished, model.StateRemoved,
	}
	allowed := map[model.AdminJobType]map[model.FeedState]model.FeedState{
		model.AdminStop: {
			model.StateNormal: model.StateStopped, model.StateWarning: model.StateStopped, model.StatePending: model.StateStopped,
		},
		model.AdminResume: {
			model.StateStopped: model.StateNormal, model.StateFailed: model.StateNormal, model.StateFinished: model.StateNormal,
		},
	}
	for job, transitions := range allowed {
		for _, from := range all {
			m := newTestMachine(from, 1, time.Time{})
			next, ok := m.onJob(from, job)
			want, wantOK := transitions[from]
			if !wantOK {
				want = from
			}
			require.Equal(t, wantOK, ok, "job %d from %s", job, from)
			require.Equal(t, want, next, "job %d from %s", job, from)
		}
	}
}

func TestErrors(t *testing.T) {
	retryable := coded(errors.ErrMySQLTxnError)
	fatal := coded(errors.ErrDispatcherFailed)
	gone := coded(errors.ErrGCTTLExceeded)
	mentioned := &model.RunningError{Code: "CDC:ErrProcessorUnknown", Message: "remote said [CDC:ErrSnapshotLostByGC]x"}
	tests := []struct {
		from model.FeedState
		err  *model.RunningError
		want model.FeedState
	}{
		{model.StateNormal, retryable, model.StatePending},
		{model.StateWarning, retryable, model.StatePending},
		{model.StatePending, retryable, model.StatePending},
		{model.StateStopped, retryable, model.StateStopped},
		{model.StateFailed, retryable, model.StateFailed},
		{model.StateFinished, retryable, model.StateFinished},
		{model.StateNormal, fatal, model.StateFailed},
		{model.StatePending, fatal, model.StateFailed},
		{model.StateStopped, fatal, model.StateFailed},
		{model.StateStopped, gone, model.StateFailed},
		{model.StateFailed, gone, model.StateFailed},
		{model.StateFinished, gone, model.StateFinished},
		{model.StateNormal, mentioned, model.StateFailed},
	}
	for _, tt := range tests {
		m := newTestMachine(tt.from, 1, time.Unix(0, 0))
		require.Equal(t, tt.want, m.onError(tt.from, tt.err, time.Unix(1, 0)), "%s + %s", tt.from, tt.err.Code)
	}
}

// The first retry is immediate, then pauses double up to ten minutes, and
// after half an hour without success the changefeed is given up.
func TestBackoff(t *testing.T) {
	now := time.Unix(1000, 0)
	m := newTestMachine(model.StateNormal, 10, now)
	m.configure(nil)
	start, e := now, coded(errors.ErrMySQLTxnError)
	var pauses []time.Duration
	state := model.StateNormal
	for {
		state = m.onError(state, e, now)
		if state == model.StateFailed {
			break
		}
		require.Equal(t, model.StatePending, state)
		pauses = append(pauses, m.retryAt.Sub(now))
		if m.retryAt.After(now) {
			require.Equal(t, model.StatePending, m.onTime(state, 10, m.retryAt.Add(-time.Millisecond)))
		}
		now = m.retryAt
		state = m.onTime(state, 10, now)
		require.Equal(t, model.StateWarning, state)
		now = now.Add(time.Second)
		require.Equal(t, model.StateWarning, m.onProgress(state, 10, 20, now), "not proven by standing still")
	}
	s := time.Second
	require.Equal(t, []time.Duration{0, 20 * s, 40 * s, 80 * s, 160 * s, 320 * s, 600 * s}, pauses)
	require.LessOrEqual(t, now.Sub(start), 30*time.Minute)

	// A user may resume it, with a fresh series.
	state, ok := m.onJob(state, model.AdminResume)
	require.True(t, ok)
	require.Equal(t, model.StatePending, m.onError(state, e, now))
	require.Equal(t, now, m.retryAt)
}

// TestErrorStuckDuration: a changefeed is given up after as long as it is told,
// and a changed time counts from the next error on.
func TestErrorStuckDuration(t *testing.T) {
	half, hour := 30*time.Minute, time.Hour
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	c.startOwner(c.addCapture("c-a"))
	c.create(func(i *etcdmeta.ChangefeedInfo) { i.Config.ChangefeedErrorStuckDuration = &half })
	c.waitCheckpoint(200)
	// stateAfter is what an error leads to some time after another one.
	stateAfter := func(between time.Duration) (state model.FeedState) {
		read := make(chan struct{})
		f := c.owner.all()[0]
		f.post(func() {
			defer close(read)
			m, e, now := f.machine, coded(errors.ErrMySQLTxnError), time.Unix(1000, 0)
			m.endSeries()
			m.onError(model.StateNormal, e, now)
			state = m.onError(model.StateWarning, e, now.Add(between))
		})
		<-read
		return state
	}
	require.Equal(t, model.StatePending, stateAfter(20*time.Minute))
	require.Equal(t, model.StateFailed, stateAfter(40*time.Minute))
	info := c.stored().Info
	info.Config.ChangefeedErrorStuckDuration = &hour
	c.overwrite(info)
	eventually(t, "the longer time", func() bool { return stateAfter(40*time.Minute) == model.StatePending })
	require.Equal(t, model.StateFailed, stateAfter(61*time.Minute))
}

func TestJitterStaysNear(t *testing.T) {
	for _, random := range []float64{0, 0.25, 0.999} {
		m := newMachine(nil, func() float64 { return random })
		m.load(model.StateWarning, 1, time.Unix(0, 0))
		require.Equal(t, model.StatePending, m.onError(model.StateWarning, coded(errors.ErrMySQLTxnError), time.Unix(1, 0)))
		pause := m.retryAt.Sub(time.Unix(1, 0))
		require.InDelta(t, 20*time.Second, pause, float64(2*time.Second)+1)
	}
}

func TestProof(t *testing.T) {
	now := time.Unix(1000, 0)
	m := newTestMachine(model.StateNormal, 10, now)
	state := m.onError(model.StateNormal, coded(errors.ErrMySQLTxnError), now)
	state = m.onTime(state, 10, now)
	require.Equal(t, model.StateWarning, state)
	require.Equal(t, model.StateWarning, m.onProgress(state, 10, 10, now))

	// A sink's warning raises what has to be passed.
	m.onProgress(model.StateNormal, 15, 20, now)
	state, fatal := m.onWarning(state, coded(errors.ErrMySQLTxnError), now)
	require.Nil(t, fatal)
	require.Equal(t, model.StateWarning, m.onProgress(state, 15, 20, now))
	require.Equal(t, model.StateNormal, m.onProgress(state, 16, 20, now))

	// After the proof a new error begins a new series.
	require.Equal(t, model.StatePending, m.onError(model.StateNormal, coded(errors.ErrMySQLTxnError), now.Add(time.Hour)))
	require.Equal(t, now.Add(time.Hour), m.retryAt)
}

func TestStuckWarningFails(t *testing.T) {
	now := time.Unix(1000, 0)
	tests := []struct {
		name  string
		after time.Duration
		// checkpoint and resolved are reported at half of after.
		checkpoint, resolved uint64
		want                 model.FeedState
	}{
		{"soon", 20 * time.Minute, 10, 20, model.StateWarning},
		{"stuck", 31 * time.Minute, 10, 20, model.StateFailed},
		{"moved meanwhile", 40 * time.Minute, 11, 20, model.StateWarning},
		{"nothing to do meanwhile", 40 * time.Minute, 10, 10, model.StateWarning},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newTestMachine(model.StateNormal, 10, now)
			m.onProgress(model.StateNormal, tt.checkpoint, tt.resolved, now.Add(tt.after/2))
			state, fatal := m.onWarning(model.StateNormal, coded(errors.ErrMySQLTxnError), now.Add(tt.after))
			require.Equal(t, tt.want, state)
			if tt.want == model.StateFailed {
				require.Equal(t, errors.ErrChangefeedUnretryable.Text(), fatal.Code)
			} else {
				require.Nil(t, fatal)
			}
		})
	}
}

func TestLoadPendingRetriesAtOnce(t *testing.T) {
	now := time.Unix(1000, 0)
	m := newTestMachine(model.StatePending, 10, now)
	require.Equal(t, model.StateWarning, m.onTime(model.StatePending, 10, now))
}
