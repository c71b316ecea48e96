package dispatch

import (
	"encoding/binary"
	"time"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
)

// Half says which part of a stored change an event carries.
type Half uint8

// The halves. An update that changes a key is sent as the delete of the old
// row and the insert of the new one.
const (
	Whole Half = iota
	OldHalf
	NewHalf
)

// Item is one event of a batch.
type Item struct {
	Row       int32 // index in RowBatch.Rows
	Partition int32
	Half      Half
}

// Router finds the partitions of rows. It is not safe for concurrent use.
type Router struct {
	decoder *mounter.Decoder
	values  []model.Value
	text    []byte
	news    []Item // second halves of the transaction at hand
	whole   []Item
}

// NewRouter makes a router; loc is the time zone in which timestamps are hashed.
func NewRouter(loc *time.Location) *Router {
	return &Router{decoder: mounter.NewDecoder(loc)}
}

// Route appends the events of a batch to dst, in the order in which they are
// to be sent, for a topic with the given number of partitions. Changes that
// leave nothing to tell are left out. Errors have the code ErrDecodeRowToDatum.
func (r *Router) Route(p *Plan, b *model.RowBatch, partitions int32, dst []Item) ([]Item, error) {
	rows := b.Rows
	for start := 0; start < len(rows); {
		end := start + 1
		for end < len(rows) && rows[end].CommitTs == rows[start].CommitTs && rows[end].StartTs == rows[start].StartTs {
			end++
		}
		var err error
		if dst, err = r.routeTxn(p, rows, start, end, dst); err != nil {
			return dst, err
		}
		start = end
	}
	return dst, r.place(p, rows, partitions, dst)
}

// routeTxn appends the events of one transaction. As soon as one update is
// split, deletes go first and inserts last, so that a key which moved from one
// row to another is free before it is taken.
func (r *Router) routeTxn(p *Plan, rows []model.RawChange, start, end int, dst []Item) ([]Item, error) {
	from := len(dst)
	r.news, r.whole = r.news[:0], r.whole[:0]
	for i := start; i < end; i++ {
		c := &rows[i]
		if c.IsDelete() && len(c.OldValue()) == 0 {
			continue // made and deleted by one transaction
		}
		item := Item{Row: int32(i)}
		if p.split != nil && c.IsUpdate() {
			changed, err := r.decoder.Changed(p.full, c, p.split)
			if err != nil {
				return dst, err
			}
			if changed {
				item.Half = NewHalf
				r.news = append(r.news, item)
				item.Half = OldHalf
			}
		}
		dst = append(dst, item)
	}
	if len(r.news) == 0 {
		return dst, nil
	}
	return r.reorder(rows, dst, from), nil
}

// reorder sorts the events from the given one on: deletes, updates, inserts.
func (r *Router) reorder(rows []model.RawChange, dst []Item, from int) []Item {
	r.whole = append(r.whole, dst[from:]...)
	dst = dst[:from]
	take := func(want model.RowKind) {
		for _, item := range r.whole {
			if kindOf(&rows[item.Row], item.Half) == want {
				dst = append(dst, item)
			}
		}
	}
	take(model.RowDelete)
	take(model.RowUpdate)
	take(model.RowInsert)
	return append(dst, r.news...)
}

func kindOf(c *model.RawChange, h Half) model.RowKind {
	switch {
	case h == OldHalf || c.IsDelete():
		return model.RowDelete
	case h == NewHalf || c.IsInsert():
		return model.RowInsert
	}
	return model.RowUpdate
}

// place fills the partitions of events in.
func (r *Router) place(p *Plan, rows []model.RawChange, partitions int32, items []Item) error {
	if partitions == 1 || !p.PerRow() {
		all := p.base.Partition(partitions)
		for i := range items {
			items[i].Partition = all
		}
		return nil
	}
	for i := range items {
		c := &rows[items[i].Row]
		if p.method == byTs {
			items[i].Partition = int32(c.CommitTs % uint64(partitions))
			continue
		}
		h, err := r.hash(p, c, items[i].Half)
		if err != nil {
			return err
		}
		items[i].Partition = h.Partition(partitions)
	}
	return nil
}

// hash covers the new row, or the old one where the event is a delete.
func (r *Router) hash(p *Plan, c *model.RawChange, half Half) (Hash, error) {
	side := mounter.New
	if kindOf(c, half) == model.RowDelete {
		side = mounter.Old
	}
	var err error
	if r.values, err = r.decoder.DecodeColumns(p.full, c, side, p.keys, r.values); err != nil {
		return 0, err
	}
	h := p.base
	for i := range r.values {
		r.text = appendText(r.text[:0], &r.values[i])
		h.Write(p.names[i], r.text)
	}
	return h, nil
}

// Reader decodes rows into events. It is not safe for concurrent use.
type Reader struct {
	decoder *mounter.Decoder
	row     model.Row // as decoded
	picked  model.Row // the selected columns of it

	verifier  *mounter.Verifier // nil without integrity check
	corrupted func(t *model.Table, c *model.RawChange) error
}

// NewReader makes a reader that shows timestamps in loc.
func NewReader(loc *time.Location) *Reader { return &Reader{decoder: mounter.NewDecoder(loc)} }

// Read fills the event of one item in. It is valid until the next call. An
// error has the code ErrDecodeRowToDatum, or is that of the checksums' verifier.
func (r *Reader) Read(p *Plan, b *model.RowBatch, item Item, ev *codec.RowEvent) error {
	c := &b.Rows[item.Row]
	if err := r.decoder.Decode(p.full, c, &r.row); err != nil {
		return err
	}
	ev.Table, ev.PhysicalID = p.Table, b.TableID
	ev.RowID = rowID(p, c)
	ev.StartTs, ev.CommitTs = c.StartTs, c.CommitTs
	ev.Checksum = nil
	ev.Row = r.row
	if p.selected != nil {
		r.picked.Old = pick(r.picked.Old, r.row.Old, p.selected)
		r.picked.New = pick(r.picked.New, r.row.New, p.selected)
		ev.Row.Old, ev.Row.New = r.picked.Old, r.picked.New
	}
	switch item.Half {
	case OldHalf:
		ev.Row.Kind, ev.Row.New = model.RowDelete, nil
	case NewHalf:
		ev.Row.Kind, ev.Row.Old = model.RowInsert, nil
	}
	if r.verifier != nil {
		return r.verify(p, c, item.Half, ev)
	}
	return nil
}

// pick takes the values at some positions of an image, which may be empty.
func pick(dst, image []model.Value, positions []int) []model.Value {
	dst = dst[:0]
	if len(image) == 0 {
		return dst
	}
	for _, i := range positions {
		dst = append(dst, image[i])
	}
	return dst
}

// intHandleLength is the length of a row's integer handle in its key.
const intHandleLength = 8

// rowID reads the integer handle out of a record key, 0 where rows are stored
// by a common handle.
func rowID(p *Plan, c *model.RawChange) int64 {
	h := mounter.Handle(c.Key())
	if len(h) != intHandleLength || p.full.Info.IsCommonHandle {
		return 0
	}
	return int64(binary.BigEndian.Uint64(h) ^ 1<<63)
}
