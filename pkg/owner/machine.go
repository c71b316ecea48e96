package owner

import (
	"fmt"
	"time"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// The pauses between two retries of a changefeed: the first retry is
// immediate, then the pause doubles.
const (
	retryBase    = 10 * time.Second
	retryMax     = 10 * time.Minute
	retryJitter  = 0.1
	defaultStuck = 30 * time.Minute
)

// machine is the state machine of one changefeed. It does no I/O and asks no
// clock: each call gets the time and returns the state to enter, which is the
// current one when nothing changes.
type machine struct {
	// stuck is how long a changefeed may be without progress before it is
	// given up.
	stuck time.Duration
	// random returns numbers in [0,1) for the jitter of pauses.
	random func() float64

	// A series of errors lasts from the first error until the changefeed has
	// proven itself.
	seriesStart time.Time // zero: no series
	attempts    int
	retryAt     time.Time

	// What the checkpoint has to pass before warning becomes normal.
	retryCheckpoint   uint64
	warningCheckpoint uint64

	lastCheckpoint uint64
	lastAdvance    time.Time
}

func newMachine(stuck *time.Duration, random func() float64) *machine {
	m := &machine{random: random}
	m.configure(stuck)
	return m
}

// configure takes a changed configuration over.
func (m *machine) configure(stuck *time.Duration) {
	m.stuck = defaultStuck
	if stuck != nil && *stuck > 0 {
		m.stuck = *stuck
	}
}

// load begins with a stored changefeed. What earlier owners knew of a series
// of errors is lost: a pending changefeed is retried at once.
func (m *machine) load(state model.FeedState, checkpoint uint64, now time.Time) {
	m.lastCheckpoint, m.lastAdvance = checkpoint, now
	m.retryCheckpoint, m.warningCheckpoint = 0, 0
	switch state {
	case model.StatePending:
		m.startSeries(now)
	case model.StateWarning:
		m.startSeries(now)
		m.retryCheckpoint, m.warningCheckpoint = checkpoint, checkpoint
	default:
		m.endSeries()
	}
}

func (m *machine) startSeries(now time.Time) {
	m.seriesStart, m.attempts, m.retryAt = now, 1, now
}

func (m *machine) endSeries() {
	m.seriesStart, m.attempts, m.retryAt = time.Time{}, 0, time.Time{}
}

// onJob tells what a user's job leads to; ok is false when the state does not
// allow it and the job is to be ignored.
func (m *machine) onJob(state model.FeedState, job model.AdminJobType) (next model.FeedState, ok bool) {
	switch job {
	case model.AdminStop:
		switch state {
		case model.StateNormal, model.StateWarning, model.StatePending, "":
			m.endSeries()
			return model.StateStopped, true
		}
	case model.AdminResume:
		switch state {
		case model.StateStopped, model.StateFailed, model.StateFinished:
			m.endSeries()
			m.retryCheckpoint, m.warningCheckpoint = 0, 0
			return model.StateNormal, true
		}
	}
	return state, false
}

// onError tells what an error of the run or of a check leads to.
func (m *machine) onError(state model.FeedState, e *model.RunningError, now time.Time) model.FeedState {
	if unretryable(e) {
		switch state {
		case model.StateFinished, model.StateRemoved:
			return state
		}
		m.endSeries()
		return model.StateFailed
	}
	if !state.Running() {
		return state
	}
	var pause time.Duration
	if m.seriesStart.IsZero() {
		m.startSeries(now)
	} else {
		pause = m.nextPause()
		m.attempts++
	}
	if now.Sub(m.seriesStart)+pause > m.stuck {
		m.endSeries()
		return model.StateFailed
	}
	m.retryAt = now.Add(pause)
	return model.StatePending
}

// nextPause is about 20 s after the immediate first retry, then 40 s and so on.
func (m *machine) nextPause() time.Duration {
	pause := retryBase
	for range m.attempts {
		pause = min(pause*2, retryMax)
	}
	jitter := 1 + retryJitter*(2*m.random()-1)
	return time.Duration(float64(pause) * jitter)
}

// onWarning tells what a sink's warning leads to. When the changefeed has been
// without progress for too long the warning becomes an error, which is returned.
func (m *machine) onWarning(state model.FeedState, w *model.RunningError, now time.Time) (model.FeedState, *model.RunningError) {
	if !state.Running() {
		return state, nil
	}
	m.warningCheckpoint = m.lastCheckpoint
	if now.Sub(m.lastAdvance) > m.stuck {
		m.endSeries()
		return model.StateFailed, &model.RunningError{
			Time: w.Time, Addr: w.Addr, Code: errors.ErrChangefeedUnretryable.Text(),
			Message: errors.ErrChangefeedUnretryable.New().Error() + ": " + w.Message,
		}
	}
	return model.StateWarning, nil
}

// onProgress tells what the current checkpoint leads to.
func (m *machine) onProgress(state model.FeedState, checkpoint, resolved uint64, now time.Time) model.FeedState {
	if checkpoint > m.lastCheckpoint || checkpoint >= resolved {
		m.lastCheckpoint, m.lastAdvance = checkpoint, now
	}
	if state == model.StateWarning && checkpoint > m.retryCheckpoint && checkpoint > m.warningCheckpoint {
		m.endSeries()
		return model.StateNormal
	}
	return state
}

// onTime tells whether a pending changefeed is to be started again.
func (m *machine) onTime(state model.FeedState, checkpoint uint64, now time.Time) model.FeedState {
	if state != model.StatePending || now.Before(m.retryAt) {
		return state
	}
	m.retryCheckpoint = checkpoint
	m.lastAdvance = now
	return model.StateWarning
}

// unretryable looks at the code and at the whole text, which may have come
// from another process.
func unretryable(e *model.RunningError) bool {
	return errors.IsUnretryable(fmt.Errorf("[%s]%s", e.Code, e.Message))
}
