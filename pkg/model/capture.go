package model

// Liveness says whether a capture takes work. It only ever rises.
type Liveness int32

// The liveness values, with the numbers of the API.
const (
	LivenessAlive    Liveness = 0
	LivenessStopping Liveness = 1
)

// CaptureInfo is what a capture registers of itself in etcd.
type CaptureInfo struct {
	ID             CaptureID `json:"id"`
	AdvertiseAddr  string    `json:"address"`
	Version        string    `json:"version"`
	GitHash        string    `json:"git-hash"`
	DeployPath     string    `json:"deploy-path"`
	StartTimestamp int64     `json:"start-timestamp"` // Unix seconds
	// Stopped is set just before the capture takes its key away: nothing that it
	// had begun goes on. A key that vanishes without it may have expired.
	Stopped bool `json:"stopped,omitempty"`
}
