package server

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLinger(t *testing.T) {
	l := newLinger()
	var soon, late, closed atomic.Int32
	l.after(time.Millisecond, func() { soon.Add(1) })
	l.after(time.Hour, func() { late.Add(1) })
	require.Eventually(t, func() bool { return soon.Load() == 1 }, 30*time.Second, time.Millisecond)
	require.Zero(t, late.Load())
	l.close()
	require.Equal(t, int32(1), late.Load())
	l.after(time.Hour, func() { closed.Add(1) })
	require.Equal(t, int32(1), closed.Load())
	require.Equal(t, int32(1), soon.Load())
}
