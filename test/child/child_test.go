package child

import (
	"io"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOutlivesItsThread ends many threads while a child runs.
func TestOutlivesItsThread(t *testing.T) {
	in, feed := io.Pipe()
	children := make([]*Child, 0, 8)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range cap(children) {
		wg.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
			cmd := exec.Command("sleep", "3600")
			c, err := Start(cmd)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				children = append(children, c)
				t.Cleanup(func() {
					_ = cmd.Process.Kill()
					<-c.Done()
					require.Error(t, c.Err())
				})
			}
		})
	}
	wg.Wait()
	require.Len(t, children, cap(children))

	cat := exec.Command("cat")
	cat.Stdin = in
	last, err := Start(cat)
	require.NoError(t, err)
	require.NoError(t, feed.Close())
	<-last.Done()
	require.NoError(t, last.Err())
	for _, c := range children {
		select {
		case <-c.Done():
			t.Fatalf("a child ended: %v", c.Err())
		default:
		}
	}
}

func TestStartFails(t *testing.T) {
	_, err := Start(exec.Command("/no/such/program"))
	require.Error(t, err)
}
