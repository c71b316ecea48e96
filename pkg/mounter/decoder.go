// Package mounter turns the store's bytes of a row change into typed values,
// under the table version that was valid when the row was committed.
package mounter

import (
	"time"

	"github.com/tidemark/tidemark/pkg/model"
)

// Decoder decodes row changes into reused memory. It is not safe for
// concurrent use: every worker has its own.
type Decoder struct {
	loc *time.Location
}

// NewDecoder makes a decoder that shows timestamp columns in loc.
func NewDecoder(loc *time.Location) *Decoder { return &Decoder{loc: loc} }

// Decode fills row with every column of both sides of a change. The values
// are valid until the next call of any method of the decoder. An error has the
// code ErrDecodeRowToDatum.
func (d *Decoder) Decode(t *model.Table, c *model.RawChange, row *model.Row) error { return nil }

// Side is one of the two images of a row change.
type Side int

// The sides.
const (
	Old Side = iota
	New
)

// DecodeColumns decodes the columns at the given positions of Table.Columns
// of one side into dst, which is reused, and returns it; empty when the change
// has no such side. The values are valid until the next call of any method of
// the decoder.
func (d *Decoder) DecodeColumns(t *model.Table, c *model.RawChange, side Side, columns []int, dst []model.Value) ([]model.Value, error) {
	return dst[:0], nil
}

// Handle returns the row's own part of a record key, a window into it: what
// tells the rows of one physical table apart. Nil when the key is no record key.
func Handle(key []byte) []byte { return nil }
