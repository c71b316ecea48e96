package etcdmeta

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

func TestKeys(t *testing.T) {
	keys := NewKeys("default")
	feed := model.ChangefeedID{Namespace: "ns", ID: "f-1"}
	tests := []struct {
		key    string
		want   string
		parsed Key
	}{
		{keys.OwnerPrefix() + "/22317526e4fc9a37", "/tidb/cdc/default/__cdc_meta__/owner/22317526e4fc9a37", Key{Kind: KindOwner, LeaseHex: "22317526e4fc9a37"}},
		{keys.Capture("c-1"), "/tidb/cdc/default/__cdc_meta__/capture/c-1", Key{Kind: KindCapture, Capture: "c-1"}},
		{keys.MetaVersion(), "/tidb/cdc/default/__cdc_meta__/meta/meta-version", Key{Kind: KindMetaVersion}},
		{keys.DeleteCount(), "/tidb/cdc/default/__cdc_meta__/meta/ticdc-delete-etcd-key-count", Key{Kind: KindDeleteCount}},
		{keys.Info(feed), "/tidb/cdc/default/ns/changefeed/info/f-1", Key{Kind: KindInfo, Feed: feed}},
		{keys.Status(feed), "/tidb/cdc/default/ns/changefeed/status/f-1", Key{Kind: KindStatus, Feed: feed}},
		{keys.Position("c-1", feed), "/tidb/cdc/default/ns/task/position/c-1/f-1", Key{Kind: KindPosition, Feed: feed, Capture: "c-1"}},
		{keys.Upstream("ns", 7123456789), "/tidb/cdc/default/ns/upstream/7123456789", Key{Kind: KindUpstream, Namespace: "ns", Upstream: 7123456789}},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			require.Equal(t, tt.want, tt.key)
			parsed, ok := keys.Parse(tt.key)
			require.True(t, ok)
			require.Equal(t, tt.parsed, parsed)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	keys := NewKeys("default")
	for _, key := range []string{
		"",
		"/tidb/cdc/default",
		"/tidb/cdc/default/",
		"/tidb/cdc/default2/ns/changefeed/info/f", // an id that only begins alike
		"/tidb/cdc/other/ns/changefeed/info/f",
		"/tidb/cdc/default/ns/changefeed/info/",
		"/tidb/cdc/default/ns/changefeed/info/a/b",
		"/tidb/cdc/default//changefeed/info/f",
		"/tidb/cdc/default/ns/changefeed/other/f",
		"/tidb/cdc/default/ns/upstream/abc",
		"/tidb/cdc/default/__cdc_meta__/owner",
		"/tidb/cdc/default/__cdc_meta__/owner/",
		"/tidb/cdc/default/__cdc_meta__/meta/else",
		"/tidb/cdc/owner/22317526e4fc9a37",
	} {
		_, ok := keys.Parse(key)
		require.False(t, ok, key)
	}
}

func TestValidClusterID(t *testing.T) {
	require.True(t, ValidClusterID("default"))
	require.True(t, ValidClusterID("a-1"))
	for _, id := range []string{"owner", "capture", "task", "changefeed", "job", "meta", "", "a_b", "-a"} {
		require.False(t, ValidClusterID(id), id)
	}
}

// FuzzParse checks that no key makes the parser fail, and that a key which it
// accepts is built again from its parts.
func FuzzParse(f *testing.F) {
	keys := NewKeys("default")
	for _, seed := range []string{
		keys.Info(model.DefaultChangefeedID("f")), keys.Capture("c"), keys.Upstream("ns", 1), keys.OwnerPrefix() + "/a",
		"/tidb/cdc/default/__cdc_meta__", "/tidb/cdc/default/", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		parsed, ok := keys.Parse(key)
		if !ok {
			return
		}
		switch parsed.Kind {
		case KindInfo:
			require.Equal(t, key, keys.Info(parsed.Feed))
		case KindStatus:
			require.Equal(t, key, keys.Status(parsed.Feed))
		case KindPosition:
			require.Equal(t, key, keys.Position(parsed.Capture, parsed.Feed))
		case KindCapture:
			require.Equal(t, key, keys.Capture(parsed.Capture))
		}
	})
}
