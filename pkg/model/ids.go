package model

import "regexp"

// DefaultNamespace is the namespace of changefeeds that name none.
const DefaultNamespace = "default"

// maxIDLen is the length limit, in bytes, of changefeed, namespace and cluster ids.
const maxIDLen = 128

var idPattern = regexp.MustCompile(`^[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*$`)

// ValidID tells whether s may be used as changefeed id, namespace, capture id
// or cluster id.
func ValidID(s string) bool { return len(s) <= maxIDLen && idPattern.MatchString(s) }

// ChangefeedID names one changefeed in the cluster.
type ChangefeedID struct {
	Namespace string
	ID        string
}

// String is the form that error messages use, "namespace/id".
func (c ChangefeedID) String() string { return c.Namespace + "/" + c.ID }

// DefaultChangefeedID is the changefeed id in the default namespace.
func DefaultChangefeedID(id string) ChangefeedID {
	return ChangefeedID{Namespace: DefaultNamespace, ID: id}
}

// CaptureID is the UUID that a capture takes at each start.
type CaptureID = string
