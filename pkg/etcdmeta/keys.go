package etcdmeta

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tidemark/tidemark/pkg/model"
)

// rootPrefix starts every key of every TiCDC cluster.
const rootPrefix = "/tidb/cdc/"

// metaSegment takes the place of the namespace in keys of the whole cluster.
const metaSegment = "__cdc_meta__"

// reservedClusterIDs are the words that the old layout used as first segment.
func reservedClusterIDs() []string {
	return []string{"owner", "capture", "task", "changefeed", "job", "meta"}
}

// ValidClusterID tells whether id may name a cluster.
func ValidClusterID(id string) bool {
	for _, word := range reservedClusterIDs() {
		if id == word {
			return false
		}
	}
	return model.ValidID(id)
}

// Kind is what a key holds.
type Kind int

// The kinds of keys.
const (
	KindUnknown Kind = iota
	KindOwner
	KindCapture
	KindMetaVersion
	KindDeleteCount
	KindInfo
	KindStatus
	KindPosition
	KindUpstream
)

// Key is a parsed key. Which fields are set depends on Kind.
type Key struct {
	Kind     Kind
	LeaseHex string             // KindOwner
	Capture  model.CaptureID    // KindCapture, KindPosition
	Feed     model.ChangefeedID // KindInfo, KindStatus, KindPosition
	Upstream uint64             // KindUpstream
	// Namespace is the upstream's; a feed has its own.
	Namespace string // KindUpstream
}

// Keys builds and parses the keys of one cluster.
type Keys struct{ prefix string } // "/tidb/cdc/<cluster>"

// NewKeys is for the cluster of this id, which must be valid.
func NewKeys(clusterID string) Keys { return Keys{prefix: rootPrefix + clusterID} }

// Prefix starts with the exact cluster segment, so that a cluster whose id
// merely begins with this one's is not met.
func (k Keys) Prefix() string { return k.prefix + "/" }

// MetaPrefix starts the keys of captures and election.
func (k Keys) MetaPrefix() string { return k.prefix + "/" + metaSegment + "/" }

// OwnerPrefix is the election's name; candidates append "/<lease id in hex>".
func (k Keys) OwnerPrefix() string { return k.MetaPrefix() + "owner" }

// CapturePrefix starts the capture keys.
func (k Keys) CapturePrefix() string { return k.MetaPrefix() + "capture/" }

// Capture is the registration of one capture.
func (k Keys) Capture(id model.CaptureID) string { return k.CapturePrefix() + id }

// MetaVersion holds the layout's version.
func (k Keys) MetaVersion() string { return k.MetaPrefix() + "meta/meta-version" }

// DeleteCount counts transactions that delete keys.
func (k Keys) DeleteCount() string { return k.MetaPrefix() + "meta/ticdc-delete-etcd-key-count" }

// Info holds a changefeed's info.
func (k Keys) Info(id model.ChangefeedID) string {
	return k.prefix + "/" + id.Namespace + "/changefeed/info/" + id.ID
}

// Status holds a changefeed's status.
func (k Keys) Status(id model.ChangefeedID) string {
	return k.prefix + "/" + id.Namespace + "/changefeed/status/" + id.ID
}

// Position is TiCDC's mailbox of a changefeed on a capture.
func (k Keys) Position(capture model.CaptureID, id model.ChangefeedID) string {
	return k.PositionPrefix(id.Namespace, capture) + id.ID
}

// PositionPrefix starts a capture's positions in a namespace.
func (k Keys) PositionPrefix(namespace string, capture model.CaptureID) string {
	return k.prefix + "/" + namespace + "/task/position/" + capture + "/"
}

// Upstream holds an upstream's info.
func (k Keys) Upstream(namespace string, id uint64) string {
	return k.prefix + "/" + namespace + "/upstream/" + strconv.FormatUint(id, 10)
}

// Parse reads a key. ok is false for keys of other clusters and for keys that
// the layout does not know.
func (k Keys) Parse(key string) (parsed Key, ok bool) {
	rest, found := strings.CutPrefix(key, k.Prefix())
	if !found {
		return Key{}, false
	}
	seg := strings.Split(rest, "/")
	if seg[0] == metaSegment {
		return parseMeta(seg[1:])
	}
	return parseNamespaced(seg)
}

func parseMeta(seg []string) (Key, bool) {
	if len(seg) != 2 || seg[1] == "" {
		return Key{}, false
	}
	switch {
	case seg[0] == "owner":
		return Key{Kind: KindOwner, LeaseHex: seg[1]}, true
	case seg[0] == "capture":
		return Key{Kind: KindCapture, Capture: seg[1]}, true
	case seg[0] == "meta" && seg[1] == "meta-version":
		return Key{Kind: KindMetaVersion}, true
	case seg[0] == "meta" && seg[1] == "ticdc-delete-etcd-key-count":
		return Key{Kind: KindDeleteCount}, true
	}
	return Key{}, false
}

func parseNamespaced(seg []string) (Key, bool) {
	last := seg[len(seg)-1]
	if last == "" || seg[0] == "" {
		return Key{}, false
	}
	feed := model.ChangefeedID{Namespace: seg[0], ID: last}
	switch {
	case len(seg) == 4 && seg[1] == "changefeed" && seg[2] == "info":
		return Key{Kind: KindInfo, Feed: feed}, true
	case len(seg) == 4 && seg[1] == "changefeed" && seg[2] == "status":
		return Key{Kind: KindStatus, Feed: feed}, true
	case len(seg) == 5 && seg[1] == "task" && seg[2] == "position" && seg[3] != "":
		return Key{Kind: KindPosition, Feed: feed, Capture: seg[3]}, true
	case len(seg) == 3 && seg[1] == "upstream":
		id, err := strconv.ParseUint(last, 10, 64)
		return Key{Kind: KindUpstream, Namespace: seg[0], Upstream: id}, err == nil
	}
	return Key{}, false
}

// TopologyKey is where a capture announces itself to the tools of an upstream.
func TopologyKey(gcServiceID, advertiseAddr string) string {
	return fmt.Sprintf("/topology/ticdc/%s/%s", gcServiceID, advertiseAddr)
}
