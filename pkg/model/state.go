package model

import "time"

// FeedState is the stored state of a changefeed.
type FeedState string

// The states of a changefeed, as stored and shown.
const (
	StateNormal   FeedState = "normal"   // replicating
	StatePending  FeedState = "pending"  // met an error, waits for its next retry
	StateWarning  FeedState = "warning"  // runs again after an error, not proven yet
	StateStopped  FeedState = "stopped"  // paused by a user
	StateFailed   FeedState = "failed"   // given up; a user has to act
	StateFinished FeedState = "finished" // reached its target-ts
	StateRemoved  FeedState = "removed"  // only in metadata of very old versions
)

// Running tells whether processors work for a changefeed in this state.
func (s FeedState) Running() bool {
	return s == StateNormal || s == StateWarning || s == ""
}

// AdminJobType is the consequence of a state that is stored beside it.
type AdminJobType int

// The admin job types, with the numbers that the metadata uses.
const (
	AdminNone   AdminJobType = 0
	AdminStop   AdminJobType = 1
	AdminResume AdminJobType = 2
	AdminRemove AdminJobType = 3
	AdminFinish AdminJobType = 4
)

// AdminJob returns the job type that is written when a state is entered.
func (s FeedState) AdminJob() AdminJobType {
	switch s {
	case StatePending, StateStopped, StateFailed:
		return AdminStop
	case StateRemoved:
		return AdminRemove
	case StateFinished:
		return AdminFinish
	default:
		return AdminNone
	}
}

// RunningError is an error or warning of a changefeed, as stored and shown.
type RunningError struct {
	Time    time.Time `json:"time"`
	Addr    string    `json:"addr"`
	Code    string    `json:"code"`
	Message string    `json:"message"`
}

// Stall says why a checkpoint has not moved for longer than it should.
type Stall struct {
	Since   time.Time  `json:"since"`
	Reason  string     `json:"reason"` // one of the Stall* words
	Detail  string     `json:"detail"`
	RetryAt *time.Time `json:"retry_at,omitempty"`
}

// The reasons of a Stall.
const (
	StallRegion      = "waiting-for-region"   // a region sends no resolved-ts
	StallLock        = "waiting-for-lock"     // a lock holds resolved-ts back
	StallSink        = "sink-retrying"        // downstream refuses or is unreachable
	StallSinkBusy    = "sink-busy"            // downstream works, but slowly
	StallDDL         = "ddl-executing"        // a DDL is being executed downstream
	StallSyncPoint   = "recording-sync-point" // downstream is being told of a sync point
	StallSchema      = "waiting-for-schema"   // the DDL stream is behind
	StallBackoff     = "retry-backoff"        // pending after an error
	StallPaused      = "paused"               // stopped by a user
	StallFailed      = "failed"               // given up
	StallScheduling  = "waiting-for-capture"  // tables are not placed yet
	StallUpstream    = "upstream-unreachable" // PD or store does not answer
	StallCatchingUp  = "catching-up"          // history is being read
	StallInitialized = "initializing"         // schema is being loaded
)
