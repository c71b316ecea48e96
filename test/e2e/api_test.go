package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tikv/client-go/v2/tikv"
	"github.com/tikv/client-go/v2/txnkv"
	"github.com/tikv/client-go/v2/txnkv/transaction"

	"github.com/tidemark/tidemark/test/cluster"
)

// apiContext bounds a test of the API.
func apiContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestCredentialsOfUpstreamUsers: a server that asks for credentials takes
// those of TiDB's users, by their names in its configuration.
func TestCredentialsOfUpstreamUsers(t *testing.T) {
	ctx := apiContext(t)
	dir := t.TempDir()
	up, err := shared.up.OpenUp()
	require.NoError(t, err)
	defer up.Close()
	for _, sql := range []string{
		"CREATE USER 'operator'@'%' IDENTIFIED BY 'opens'", "CREATE USER 'guest'@'%' IDENTIFIED BY 'opens'",
	} {
		_, err := up.ExecContext(ctx, sql)
		require.NoError(t, err)
	}
	file := filepath.Join(dir, "cdc.toml")
	require.NoError(t, os.WriteFile(file, []byte(
		"[security]\nclient-user-required = true\nclient-allowed-user = [\"operator\", \"nobody\"]\n"), 0o600))
	server, err := cluster.StartServer(ctx, cluster.ServerOptions{
		PD: shared.up.PD, Dir: dir, Name: "guarded", Args: []string{"--cluster-id", "guarded", "--config", file},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, server.Stop()) }()

	create := `{"changefeed_id":"guarded","sink_uri":"blackhole://"}`
	for _, tt := range []struct {
		user, password string
		status         int
		contains       string
	}{
		{status: 401, contains: "CDC:ErrCredentialNotFound"},
		{user: "guest", password: "opens", status: 401, contains: "user guest unauthorized, error: The user is not allowed."},
		{user: "operator", password: "breaks", status: 401, contains: "user operator unauthorized, error: Error 1045 (28000): Access denied"},
		{user: "nobody", password: "opens", status: 401, contains: "CDC:ErrUnauthorized"},
		{user: "operator", password: "opens", status: 200, contains: `"state":"normal"`},
	} {
		status, body := request(ctx, t, server, "POST", "/api/v2/changefeeds", create, tt.user, tt.password)
		require.Equal(t, tt.status, status, body)
		require.Contains(t, body, tt.contains)
		require.NotContains(t, body, "breaks")
	}
	status, body := request(ctx, t, server, "GET", "/api/v2/changefeeds", "", "", "")
	require.Equal(t, 200, status, "reads are open to everybody")
	require.Contains(t, body, `"id":"guarded"`)
	status, _ = request(ctx, t, server, "GET", "/debug/info", "", "", "")
	require.Equal(t, 401, status)
	status, _ = request(ctx, t, server, "DELETE", "/api/v2/changefeeds/guarded", "", "operator", "opens")
	require.Equal(t, 200, status)

	log, err := os.ReadFile(server.LogPath())
	require.NoError(t, err)
	require.NotContains(t, string(log), "breaks", "passwords stay out of the log")
}

// request sends one request, with credentials where there is a user.
func request(ctx context.Context, t *testing.T, s *cluster.Server, method, path, body, user, password string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.Addr+path, strings.NewReader(body))
	require.NoError(t, err)
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// TestAnotherCluster: calls that name the PD of another cluster speak with it.
func TestAnotherCluster(t *testing.T) {
	ctx := apiContext(t)
	other, err := cluster.StartUpstream(ctx, cluster.UpstreamOptions{Dir: t.TempDir()})
	require.NoError(t, err)
	defer other.Close()
	db, err := other.OpenUp()
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ExecContext(ctx, "CREATE TABLE test.elsewhere (id INT PRIMARY KEY)")
	require.NoError(t, err)
	ts, err := cluster.TSO(ctx, db)
	require.NoError(t, err)

	api, pd := shared.server.API, []string{other.PD}
	var now struct {
		Timestamp int64 `json:"timestamp"`
	}
	require.NoError(t, api.Do(ctx, "POST", "/api/v2/tso", map[string]any{"pd_addrs": pd}, &now))
	require.GreaterOrEqual(t, now.Timestamp, int64(ts>>18))

	verify := func(addrs []string) string {
		var tables struct {
			Eligible []struct {
				Table string `json:"table_name"`
			} `json:"eligible_tables"`
		}
		in := map[string]any{"start_ts": ts, "pd_addrs": addrs,
			"replica_config": map[string]any{"filter": map[string]any{"rules": []string{"test.elsewhere"}}}}
		require.NoError(t, api.Do(ctx, "POST", "/api/v2/verify_table", in, &tables))
		return fmt.Sprint(tables.Eligible)
	}
	require.Equal(t, "[{elsewhere}]", verify(pd))
	require.Equal(t, "[]", verify(nil))
	require.NoError(t, api.Do(ctx, "DELETE", "/api/v2/unsafe/service_gc_safepoint", map[string]any{"pd_addrs": pd}, nil))

	err = api.Do(ctx, "POST", "/api/v2/changefeeds", map[string]any{"sink_uri": "blackhole://", "pd_addrs": pd}, nil)
	var refusal *cluster.APIError
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "CDC:ErrUpstreamMissMatch", refusal.Code)
}

// TestResolveLock: what a dead client left locked is resolved on request.
func TestResolveLock(t *testing.T) {
	ctx := apiContext(t)
	client, err := txnkv.NewClient([]string{strings.TrimPrefix(shared.up.PD, "http://")})
	require.NoError(t, err)
	defer client.Close()
	key := []byte("x_lock_of_a_dead_client")
	txn, err := client.Begin()
	require.NoError(t, err)
	require.NoError(t, txn.Set(key, []byte("never committed")))
	committer, err := transaction.TxnProbe{KVTxn: txn}.NewCommitter(0)
	require.NoError(t, err)
	committer.SetLockTTL(1)
	require.NoError(t, committer.PrewriteAllMutations(ctx))
	at, err := client.GetRegionCache().LocateKey(tikv.NewBackofferWithVars(ctx, 10_000, nil), key)
	require.NoError(t, err)

	store := tikv.StoreProbe{KVStore: client.KVStore}
	locked := func() int {
		found, err := store.ScanLocks(ctx, key, append(key, 0), txn.StartTS())
		require.NoError(t, err)
		return len(found)
	}
	require.Equal(t, 1, locked())
	resolve := func(ts uint64) {
		body := map[string]any{"region_id": at.Region.GetID(), "ts": ts}
		require.NoError(t, shared.server.API.Do(ctx, "POST", "/api/v2/unsafe/resolve_lock", body, nil))
	}
	resolve(txn.StartTS() - 1)
	require.Equal(t, 1, locked(), "a younger transaction is not asked for")
	require.Eventually(t, func() bool { // once its time to live is over
		resolve(txn.StartTS())
		return locked() == 0
	}, 20*time.Second, 50*time.Millisecond)

	for _, id := range []uint64{0, 1 << 40} {
		err = shared.server.API.Do(ctx, "POST", "/api/v2/unsafe/resolve_lock", map[string]any{"region_id": id}, nil)
		require.ErrorContains(t, err, fmt.Sprintf("region not found for regionID %d", id))
	}
}
