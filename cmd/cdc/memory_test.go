package main

import (
	"math"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
)

// TestLimitMemory: the Go runtime is told what the process should stay below,
// unless the environment has told it already.
func TestLimitMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	for _, test := range []struct {
		name                string
		given               int64 // by the environment
		configured          uint64
		available           uint64
		want, wantOfRuntime int64
	}{
		{"of the machine", math.MaxInt64, 0, 4 << 30, 3 << 30, 3 << 30},
		{"configured", math.MaxInt64, 2 << 30, 4 << 30, 2 << 30, 2 << 30},
		{"nothing is known", math.MaxInt64, 0, 0, 0, math.MaxInt64},
		{"less in the environment", 1 << 30, 2 << 30, 4 << 30, 1 << 30, 1 << 30},
		{"more in the environment", 3 << 30, 2 << 30, 4 << 30, 2 << 30, 3 << 30},
		{"only in the environment", 1 << 30, 0, 0, 1 << 30, 1 << 30},
	} {
		t.Run(test.name, func(t *testing.T) {
			debug.SetMemoryLimit(test.given)
			c := config.DefaultServerConfig()
			c.GCTunerMemory = test.configured
			require.Equal(t, test.want, limitMemory(c, test.available))
			require.Equal(t, test.wantOfRuntime, debug.SetMemoryLimit(-1))
		})
	}
}
