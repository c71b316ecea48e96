package simple

import (
	"strconv"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/internal/avrobin"
	"github.com/tidemark/tidemark/pkg/errors"
)

func parseAvro(value []byte) (*message, error) {
	r := &reader{*avrobin.NewReader(value)}
	if r.Long() != messageBranch {
		r.Fail()
	}
	payload := r.Index(numPayloads)
	if r.Index(numPayloads) != payload {
		r.Fail()
	}
	m := &message{}
	r.Long() // version
	switch payload {
	case payloadWatermark:
		m.typeName = typeWatermark
		m.commitTs = uint64(r.Long())
		r.Long() // buildTs
	case payloadBootstrap:
		m.typeName = typeBootstrap
		r.Long() // buildTs
		m.tableSchema = r.schema()
	case payloadDDL:
		m.typeName = ddlTypes()[r.Index(len(ddlTypes()))]
		m.sql = r.String()
		m.commitTs = uint64(r.Long())
		r.Long() // buildTs
		m.tableSchema, m.preTableSchema = optional(r, r.schema), optional(r, r.schema)
	case payloadDML:
		r.dml(m)
	}
	if err := r.Err(); err != nil {
		return nil, errors.ErrDecodeFailed.Wrap(err, "message of the simple protocol")
	}
	if r.Len() > 0 {
		return nil, errors.ErrDecodeFailed.New("data behind the message")
	}
	return m, nil
}

// reader reads the records of the protocol's schema.
type reader struct{ avrobin.Reader }

// optional reads a union of null and something; the zero value stands for null.
func optional[T any](r *reader, read func() T) T {
	var v T
	if r.Index(2) == 1 {
		v = read()
	}
	return v
}

func (r *reader) dml(m *message) {
	m.database, m.table = r.String(), r.String()
	r.Long() // tableID
	m.typeName = dmlTypes()[r.Index(len(dmlTypes()))]
	m.commitTs = uint64(r.Long())
	r.Long() // buildTs
	m.schemaVersion = uint64(r.Long())
	m.claimCheckLocation = optional(r, r.String)
	m.handleKeyOnly = optional(r, r.Bool)
	m.checksum = optional(r, func() *codec.Checksum {
		return &codec.Checksum{
			Version: int(r.Long()), Corrupted: r.Bool(),
			Current: uint32(r.Long()), Previous: uint32(r.Long()),
		}
	})
	m.data, m.old = optional(r, r.image), optional(r, r.image)
}

func (r *reader) image() map[string]any {
	image := make(map[string]any)
	r.Blocks(func() {
		name := r.String()
		image[name] = r.value()
	})
	return image
}

func (r *reader) value() any {
	switch r.Index(numBranches) {
	case branchLong:
		return r.Long()
	case branchFloat:
		return r.Float()
	case branchDouble:
		return r.Double()
	case branchString:
		return r.String()
	case branchBytes:
		return append([]byte{}, r.Bytes()...)
	case branchTimestamp:
		_ = r.String() // location
		return r.String()
	case branchUnsignedBigint:
		return uint64(r.Long())
	}
	return nil
}

func (r *reader) schema() *tableSchema {
	s := &tableSchema{Schema: r.String(), Table: r.String(), TableID: r.Long(), Version: uint64(r.Long())}
	r.Blocks(func() {
		c := columnSchema{Name: r.String(), DataType: r.dataType(), Nullable: r.Bool()}
		if text := optional(r, func() *string { s := r.String(); return &s }); text != nil {
			c.Default = defaultOf(&c.DataType, *text)
		}
		s.Columns = append(s.Columns, c)
	})
	r.Blocks(func() {
		s.Indexes = append(s.Indexes, indexSchema{
			Name: r.String(), Unique: r.Bool(), Primary: r.Bool(), Nullable: r.Bool(), Columns: r.strings(),
		})
	})
	return s
}

// defaultOf makes a number of a bit column's default, as in JSON.
func defaultOf(d *dataType, text string) any {
	if d.MySQLType == "bit" {
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return n
		}
	}
	return text
}

func (r *reader) dataType() dataType {
	return dataType{
		MySQLType: r.String(), Charset: r.String(), Collate: r.String(), Length: int(r.Long()),
		Decimal:  int(optional(r, r.Long)),
		Elements: optional(r, r.strings),
		Unsigned: optional(r, r.Bool), Zerofill: optional(r, r.Bool),
	}
}

func (r *reader) strings() []string {
	items := []string{}
	r.Blocks(func() { items = append(items, r.String()) })
	return items
}
