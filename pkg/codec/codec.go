// Package codec defines what message encoders and decoders share. The protocols
// live in the packages below it, pkg/codec/factory chooses one by its name.
//
// An encoder is fed rows that are decoded, filtered by the column selectors and
// split where an update changed a key (see pkg/sink/dispatch); it knows nothing
// of topics, partitions and acknowledgements.
package codec

import (
	"context"
	"time"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
)

// RecordOverhead is what one message costs beyond key and value, in bytes. The
// size that is compared with the limit is len(key) + len(value) + RecordOverhead.
const RecordOverhead = 36

// RowEvent is one row change as the encoders see it. The encoder may read it
// during the call only: the values lie in buffers that are used again.
type RowEvent struct {
	// Table is the version of the table that the row was read under. Where a
	// column selector matches, Table has the selected columns only.
	Table *model.Table
	// PhysicalID is the partition's own id, Table.ID when not partitioned.
	PhysicalID int64
	// RowID is the row's integer handle: the integer primary key that rows are
	// stored by, or the hidden _tidb_rowid. 0 where rows are stored by a common
	// handle. An unsigned key from 2^63 on is negative.
	RowID    int64
	StartTs  uint64 // TSO
	CommitTs uint64 // TSO
	// Row has the values in the order of Table.Columns.
	Row model.Row
	// Checksum is nil unless the integrity check is on.
	Checksum *Checksum
}

// Checksum is the row checksum of the upstream.
type Checksum = model.Checksum

// Message is one message for the queue. Key and Value belong to the receiver.
// A nil Key or Value differs from an empty one: it becomes a null in Kafka.
type Message struct {
	Key   []byte
	Value []byte
	// Rows is the number of rows that the message carries, in the order in
	// which they were appended; 0 for schema changes and watermarks.
	Rows int
}

// Size is what the message counts against the limit, in bytes.
func (m *Message) Size() int { return len(m.Key) + len(m.Value) + RecordOverhead }

// Encoder turns events into messages. It is used by one goroutine, and between
// two calls of Messages for one partition of one topic.
type Encoder interface {
	// AppendRow adds a row. A row that exceeds the limit, and for which no way
	// of handling large messages is configured or helps, fails with
	// ErrMessageTooLarge; then nothing was added. The context bounds calls to a
	// schema registry or to claim-check storage.
	AppendRow(ctx context.Context, topic string, ev *RowEvent) error
	// Messages hands over everything that was appended since the last call.
	// An error leaves the encoder unusable.
	Messages() ([]Message, error)
	// DDL encodes a schema change; nil where the protocol has no such message.
	DDL(ctx context.Context, topic string, ev *model.DDLEvent) (*Message, error)
	// Watermark encodes a checkpoint; nil where the protocol has no such message.
	Watermark(ctx context.Context, topic string, ts uint64) (*Message, error)
}

// Bootstrapper is an Encoder whose consumers need a table's schema before its
// rows.
type Bootstrapper interface {
	// Bootstrap encodes the schema of a table. It fails only if the table
	// cannot be described in the protocol.
	Bootstrap(ctx context.Context, topic string, table *model.Table) (*Message, error)
}

// Options configure an encoder or decoder. Zero values mean the documented
// defaults, but for MaxMessageBytes, which is required.
type Options struct {
	Changefeed model.ChangefeedID
	Protocol   string // canonical, see config.CanonicalProtocol
	// MaxMessageBytes limits Message.Size of single-row messages and of batches.
	MaxMessageBytes int
	// MaxBatchSize limits the rows of one message in protocols that batch.
	MaxBatchSize int
	TimeZone     *time.Location // in which timestamp values are shown

	EnableTiDBExtension bool
	ContentCompatible   bool // canal-json: official Canal's content
	// OnlyOutputUpdatedColumns leaves unchanged columns out of the old image.
	OnlyOutputUpdatedColumns bool
	// DeleteOnlyHandleKey leaves the other columns out of deletes.
	DeleteOnlyHandleKey bool
	// OutputOldValue of the protocols with that switch (open, debezium).
	OutputOldValue bool
	// OutputRowChecksum is set when the integrity check is on.
	OutputRowChecksum bool

	DebeziumDisableSchema bool
	ClusterID             string // of the capture cluster; debezium shows it
	SimpleFormat          string // json or avro

	Avro         AvroOptions
	LargeMessage LargeMessageOptions
	// ClaimCheck stores the large messages; nil unless claim-check is on.
	ClaimCheck ClaimCheckStore
}

// AvroOptions configure protocol avro.
type AvroOptions struct {
	Registry config.SinkURI // address of the schema registry; may hold a password
	Glue     *config.GlueSchemaRegistryConfig

	DecimalHandlingMode        string // precise or string
	BigintUnsignedHandlingMode string // long or string
	EnableWatermark            bool

	// OnTrouble, if not nil, hears of every call of the registry that is tried
	// again, and with nil of every one that was answered.
	OnTrouble func(err error)
}

// LargeMessageOptions say what becomes of a row that exceeds the limit.
type LargeMessageOptions struct {
	Option      string // config.LargeMessageNone and its like
	Compression string // none, snappy or lz4: of every message, whatever its size
	RawValue    bool   // claim-check files hold the bare value
}

// ClaimCheckStore keeps messages that are too large for the queue.
type ClaimCheckStore interface {
	// Put writes a new file and returns the address by which a consumer finds
	// it. An error means that it is not there; the row cannot be delivered.
	Put(ctx context.Context, name string, content []byte) (location string, err error)
}
