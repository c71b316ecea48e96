package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
)

// TestGlobalIndexes has rows that move between partitions and take values of
// unique keys that span them from each other, with pauses, behind which the
// partitions' streams are far apart.
func TestGlobalIndexes(t *testing.T) {
	ctx := testContext(t, 4*time.Minute)
	exec(ctx, t, shared.upDB, "CREATE DATABASE parts",
		"CREATE TABLE parts.t (id INT NOT NULL, p INT, u INT, v INT, PRIMARY KEY (id) NONCLUSTERED GLOBAL, UNIQUE KEY u (u) GLOBAL) "+
			"PARTITION BY RANGE (p) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20), "+
			"PARTITION p2 VALUES LESS THAN (30), PARTITION p3 VALUES LESS THAN (MAXVALUE))")
	for _, d := range shared.downs {
		exec(ctx, t, d.db, "CREATE DATABASE parts", "CREATE TABLE parts.t (id INT PRIMARY KEY, p INT, u INT, v INT, UNIQUE KEY u (u))")
	}
	startTs, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	feeds := createFeeds(ctx, t, shared, "parts", startTs, "parts.*")
	r := rand.New(rand.NewPCG(1, 2))
	const rows, changes, pause = 40, 600, 150
	for i := range changes {
		for _, id := range feeds {
			switch i % pause {
			case pause / 3:
				require.NoError(t, shared.server.API.Pause(ctx, id))
			case pause - 10:
				require.NoError(t, shared.server.API.Resume(ctx, id))
			}
		}
		id, p, u := r.IntN(rows), r.IntN(40), r.IntN(rows*5/4)
		switch r.IntN(8) {
		case 0:
			exec(ctx, t, shared.upDB, fmt.Sprintf("DELETE FROM parts.t WHERE id=%d", id))
		case 1, 2, 3: // what is in the way goes
			exec(ctx, t, shared.upDB, fmt.Sprintf("REPLACE INTO parts.t VALUES (%d,%d,%d,%d)", id, p, u, i))
		case 4, 5:
			exec(ctx, t, shared.upDB, fmt.Sprintf("UPDATE IGNORE parts.t SET p=%d, u=%d, v=%d WHERE id=%d", p, u, i, id))
		default:
			exec(ctx, t, shared.upDB, fmt.Sprintf("UPDATE parts.t SET p=%d, v=%d WHERE id=%d", p, i, id))
		}
	}
	requireReplicated(ctx, t, shared, feeds, []string{"parts"})
}
