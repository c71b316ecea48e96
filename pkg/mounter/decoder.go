// Package mounter turns the store's bytes of a row change into typed values,
// under the table version that was valid when the row was committed.
//
// Decoding allocates nothing once a Decoder has met its tables: strings are
// windows into the change's own bytes, and texts that have to be made go to a
// buffer that the Decoder reuses.
package mounter

import (
	"bytes"
	"fmt"
	"time"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// Decoder decodes row changes into reused memory. It is not safe for
// concurrent use: every worker has its own.
type Decoder struct {
	loc   *time.Location
	buf   []byte // texts of the values that were returned last
	plans map[*model.Table]*plan
	last  *plan
	// Values that only this package looks at: two lists to compare, and a
	// whole row to pick from.
	scratch, other, whole []model.Value

	binaryJSON bool
}

// maxPlans bounds the table versions that a Decoder remembers.
const maxPlans = 1024

// NewDecoder makes a decoder that shows timestamp columns in loc.
func NewDecoder(loc *time.Location) *Decoder {
	return &Decoder{loc: loc, plans: map[*model.Table]*plan{}}
}

// NewBinaryJSONDecoder makes a decoder that gives stored JSON as KindBytes: the
// type byte and TiDB's binary form. Defaults of columns that a row does not
// hold are still texts.
func NewBinaryJSONDecoder(loc *time.Location) *Decoder {
	d := NewDecoder(loc)
	d.binaryJSON = true
	return d
}

// Side is one of the two images of a row change.
type Side int

// The sides.
const (
	Old Side = iota
	New
)

func (s Side) of(c *model.RawChange) []byte {
	if s == Old {
		return c.OldValue()
	}
	return c.Value()
}

// Decode fills row with every column of both sides of a change; row's own
// slices are reused. The values are valid until the next call of any method of
// the decoder. An error has the code ErrDecodeRowToDatum.
func (d *Decoder) Decode(t *model.Table, c *model.RawChange, row *model.Row) error {
	d.buf = d.buf[:0]
	row.Kind, row.Old, row.New = kindOf(c), row.Old[:0], row.New[:0]
	p := d.planOf(t)
	var err error
	if c.IsUpdate() || c.IsInsert() {
		if row.New, err = d.decodeRow(p, c.Key(), c.Value(), row.New); err != nil {
			return failed(t, c, err)
		}
	}
	if len(c.OldValue()) > 0 {
		if row.Old, err = d.decodeRow(p, c.Key(), c.OldValue(), row.Old); err != nil {
			return failed(t, c, err)
		}
	}
	return nil
}

func kindOf(c *model.RawChange) model.RowKind {
	switch {
	case c.IsInsert():
		return model.RowInsert
	case c.IsUpdate():
		return model.RowUpdate
	case len(c.OldValue()) > 0:
		return model.RowDelete
	}
	return model.RowNone
}

// DecodeColumns decodes the columns at the given positions of Table.Columns
// of one side into dst, which is reused, and returns it in that order; empty
// when the change has no such side. The values are valid until the next call
// of any method of the decoder. An error has the code ErrDecodeRowToDatum.
func (d *Decoder) DecodeColumns(t *model.Table, c *model.RawChange, side Side, columns []int, dst []model.Value) ([]model.Value, error) {
	d.buf = d.buf[:0]
	value := side.of(c)
	if len(value) == 0 {
		return dst[:0], nil
	}
	dst, err := d.decodeColumns(d.planOf(t), c.Key(), value, columns, dst[:0])
	if err != nil {
		return dst[:0], failed(t, c, err)
	}
	return dst, nil
}

// Changed tells whether an update gave any of the columns at the given
// positions another value; false for a change that is no update. Mostly it
// compares stored bytes and decodes nothing. It ends the validity of earlier
// values of the decoder. An error has the code ErrDecodeRowToDatum.
func (d *Decoder) Changed(t *model.Table, c *model.RawChange, columns []int) (bool, error) {
	if !c.IsUpdate() {
		return false, nil
	}
	p := d.planOf(t)
	if same, sure := p.sameBytes(c, columns); sure && same {
		return false, nil
	}
	d.buf = d.buf[:0]
	var err error
	if d.scratch, err = d.decodeColumns(p, c.Key(), c.Value(), columns, d.scratch[:0]); err != nil {
		return false, failed(t, c, err)
	}
	if d.other, err = d.decodeColumns(p, c.Key(), c.OldValue(), columns, d.other[:0]); err != nil {
		return false, failed(t, c, err)
	}
	for i := range d.scratch {
		if !equal(&d.scratch[i], &d.other[i]) {
			return true, nil
		}
	}
	return false, nil
}

func equal(a, b *model.Value) bool {
	return a.Kind == b.Kind && a.N == b.N && bytes.Equal(a.B, b.B)
}

// recordPrefix is the length of what precedes the handle in a record key.
const recordPrefix = 11

// Handle returns the row's own part of a record key, a window into it: what
// tells the rows of one physical table apart. Nil when the key is no record key.
func Handle(key []byte) []byte {
	if _, ok := model.TableIDOfKey(key); !ok {
		return nil
	}
	return key[recordPrefix:]
}

// failed wraps what is wrong with a row. Values stay out of the text: they
// are the user's data.
func failed(t *model.Table, c *model.RawChange, cause error) error {
	return errors.ErrDecodeRowToDatum.Wrap(fmt.Errorf("table %s.%s (id %d, version %d), commit-ts %d: %w",
		t.Schema, t.Name, t.ID, t.Version, c.CommitTs, cause))
}
