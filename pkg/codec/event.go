package codec

import (
	"context"

	"github.com/tidemark/tidemark/pkg/model"
)

// EventKind tells what a decoded message is about.
type EventKind uint8

// The kinds of decoded events.
const (
	EventRow EventKind = iota
	EventDDL
	EventWatermark
	EventBootstrap // a table's schema, ahead of its rows
)

// Event is what a Decoder finds in a message. Fields that a protocol does not
// carry are zero.
type Event struct {
	Kind     EventKind
	CommitTs uint64 // TSO; of a watermark: everything up to it was sent
	Schema   string
	Table    string
	Row      *DecodedRow // EventRow
	Query    string      // EventDDL
	DDLType  string      // EventDDL: the protocol's own word or number
}

// DecodedRow is a row change in the consumer's terms.
type DecodedRow struct {
	Kind model.RowKind
	Old  []Cell // empty for inserts and where the protocol has no old values
	New  []Cell // empty for deletes
	// HandleKeyOnly says that the row was too large: only its key is there, the
	// rest has to be read from the upstream at CommitTs.
	HandleKeyOnly bool
	// ClaimCheck is where the whole message lies; then Old and New are the key only.
	ClaimCheck string
	Checksum   *Checksum
}

// Cell is one column of a decoded row.
type Cell struct {
	Name string
	Type string // MySQL type as the protocol tells it, "" if it does not
	Key  bool   // part of the handle key, where the protocol tells it
	// Value is nil, int64, uint64, float32, float64, string or []byte (binary
	// columns): what a MySQL driver takes as an argument for the column.
	Value any
}

// Decoder reads the messages of one partition, in order. It is not safe for
// concurrent use.
type Decoder interface {
	// Decode returns the events of one message, in order. The events do not
	// share memory with key and value. An error means that the message is no
	// message of the protocol, or that a schema registry does not answer.
	Decode(ctx context.Context, key, value []byte) ([]Event, error)
}
