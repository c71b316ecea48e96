package upstream

import (
	"context"
	"errors"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/etcdmeta/etcdtest"
)

func TestLogins(t *testing.T) {
	etcd := etcdtest.Start(t)
	ctx := context.Background()
	refused := &mysql.MySQLError{Number: 1045, Message: "Access denied for user 'me'@'host'"}
	down := errors.New("connection refused")
	answers := map[string]error{}
	var asked []string
	logins := &Logins{etcd: etcd, dial: func(_ context.Context, addr, user, password string) error {
		require.Equal(t, "me pw", user+" "+password)
		asked = append(asked, addr)
		return answers[addr]
	}}
	require.ErrorIs(t, logins.Check(ctx, "me", "pw"), errNoTiDB)
	for _, key := range []string{
		"/topology/tidb/10.0.0.1:4000/info", "/topology/tidb/10.0.0.1:4000/ttl",
		"/topology/tidb/[::1]:4000/info", "/topology/tidb/[::1]:4000/ttl",
		"/topology/tidb/10.0.0.9:4000/info", // its lease has expired
		"/topology/tidb_x/10.0.0.8:4000/ttl",
	} {
		_, err := etcd.Put(ctx, key, "{}")
		require.NoError(t, err)
	}
	for _, tt := range []struct {
		name          string
		first, second error
		want          error
		asked         []string
	}{
		{name: "the first one lets in", asked: []string{"10.0.0.1:4000"}},
		{name: "the first one refuses", first: refused, want: refused, asked: []string{"10.0.0.1:4000"}},
		{name: "the first one is down", first: down, asked: []string{"10.0.0.1:4000", "[::1]:4000"}},
		{name: "all are down", first: down, second: down, want: down, asked: []string{"10.0.0.1:4000", "[::1]:4000"}},
	} {
		answers["10.0.0.1:4000"], answers["[::1]:4000"], asked = tt.first, tt.second, nil
		require.Equal(t, tt.want, logins.Check(ctx, "me", "pw"), tt.name)
		require.Equal(t, tt.asked, asked, tt.name)
	}
}
