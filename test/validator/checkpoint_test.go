package validator

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
)

func TestCheckpointsCatchesARegress(t *testing.T) {
	c := WatchCheckpoints(context.Background(), cluster.NewAPI("127.0.0.1:0"), nil)
	c.See("a", 5)
	c.See("a", 5)
	c.See("b", 1)
	c.See("a", 9)
	require.NoError(t, c.Stop())

	c = WatchCheckpoints(context.Background(), cluster.NewAPI("127.0.0.1:0"), nil)
	c.See("a", 9)
	c.See("a", 8)
	require.ErrorContains(t, c.Stop(), "went from 9 back to 8")
}
