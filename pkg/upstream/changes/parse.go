package changes

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/tidemark/tidemark/pkg/model"
)

// This file reads the wire form of cdcpb.ChangeDataEvent without making an
// object per row: rows are windows into the message. The field numbers are
// those of kvproto's cdcpb.proto.

// errWire tells a message that is not valid protobuf.
var errWire = errors.New("malformed change data event")

// rowType is cdcpb.Event.LogType.
type rowType uint8

const (
	rowPrewrite    rowType = 1
	rowCommit      rowType = 2
	rowRollback    rowType = 3
	rowCommitted   rowType = 4
	rowInitialized rowType = 5
)

// The operations of a row, cdcpb.Event.Row.OpType.
const (
	opPut    = 1
	opDelete = 2
)

// wireRow is one cdcpb.Event.Row. Offsets count from the start of rec.
type wireRow struct {
	startTs, commitTs, generation uint64
	typ                           rowType
	op                            uint8
	rec                           []byte
	keyOff, keyLen                int
	valueOff, valueLen            int
	oldOff, oldLen                int
}

func (r *wireRow) key() []byte { return r.rec[r.keyOff : r.keyOff+r.keyLen] }

// change makes the committed change of the row's content.
func (r *wireRow) change(commitTs uint64) model.RawChange {
	return model.RawChangeAt(r.startTs, commitTs, r.rec,
		r.keyOff, r.keyLen, r.valueOff, r.valueLen, r.oldOff, r.oldLen)
}

// wireEvent is one cdcpb.Event: rows, an error or a resolved-ts of one region.
type wireEvent struct {
	regionID, requestID uint64
	resolvedTs          uint64
	entries             []byte // the body of Event.Entries; nil if none
	err                 []byte // the body of cdcpb.Error
	isErr               bool
}

// wireResolved is cdcpb.ResolvedTs. regions holds packed varints.
type wireResolved struct {
	ts, requestID uint64
	regions       []byte
	single        []uint64 // regions that were not packed
}

// field is one protobuf field: a number, and either a varint or a body.
type field struct {
	num  int
	n    uint64
	body []byte
}

// next reads the field at the head of b and returns the rest.
func next(b []byte, f *field) ([]byte, error) {
	tag, n := uvarint(b)
	if n <= 0 {
		return nil, errWire
	}
	b = b[n:]
	f.num, f.n, f.body = int(tag>>3), 0, nil
	if f.num <= 0 {
		return nil, errWire
	}
	switch tag & 7 {
	case 0:
		if f.n, n = uvarint(b); n <= 0 {
			return nil, errWire
		}
		return b[n:], nil
	case 1:
		if len(b) < 8 {
			return nil, errWire
		}
		f.n = binary.LittleEndian.Uint64(b)
		return b[8:], nil
	case 2:
		size, n := uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return nil, errWire
		}
		end := n + int(size)
		f.body = b[n:end:end]
		return b[end:], nil
	case 5:
		if len(b) < 4 {
			return nil, errWire
		}
		f.n = uint64(binary.LittleEndian.Uint32(b))
		return b[4:], nil
	}
	return nil, errWire
}

// uvarint is binary.Uvarint with a fast path for one byte.
func uvarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return binary.Uvarint(b)
}

// handler takes the parts of a ChangeDataEvent.
type handler interface {
	// onEvent takes rows, an error or a resolved-ts of one region. An error
	// ends the message.
	onEvent(e *wireEvent) error
	// onResolved takes a batched resolved-ts.
	onResolved(r *wireResolved) error
}

// parseMessage walks a ChangeDataEvent. It stops at the first error.
func parseMessage(b []byte, h handler) error {
	var f field
	var err error
	for len(b) > 0 {
		if b, err = next(b, &f); err != nil {
			return err
		}
		switch {
		case f.num == 1 && f.body != nil:
			var e wireEvent
			if err := parseEvent(f.body, &e); err != nil {
				return err
			}
			err = h.onEvent(&e)
		case f.num == 2 && f.body != nil:
			var r wireResolved
			if err := parseResolved(f.body, &r); err != nil {
				return err
			}
			err = h.onResolved(&r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func parseEvent(b []byte, e *wireEvent) error {
	var f field
	var err error
	for len(b) > 0 {
		if b, err = next(b, &f); err != nil {
			return err
		}
		switch f.num {
		case 1:
			e.regionID = f.n
		case 3:
			e.entries, e.err, e.isErr, e.resolvedTs = f.body, nil, false, 0
		case 5:
			e.entries, e.err, e.isErr, e.resolvedTs = nil, f.body, true, 0
		case 6:
			e.entries, e.err, e.isErr, e.resolvedTs = nil, nil, false, f.n
		case 7:
			e.requestID = f.n
		}
	}
	return nil
}

func parseResolved(b []byte, r *wireResolved) error {
	var f field
	var err error
	for len(b) > 0 {
		if b, err = next(b, &f); err != nil {
			return err
		}
		switch f.num {
		case 1:
			if f.body != nil && r.regions == nil {
				r.regions = f.body
			} else if f.body != nil {
				if err := eachVarint(f.body, func(n uint64) { r.single = append(r.single, n) }); err != nil {
					return err
				}
			} else {
				r.single = append(r.single, f.n)
			}
		case 2:
			r.ts = f.n
		case 3:
			r.requestID = f.n
		}
	}
	return nil
}

// each calls fn with every region of the message.
func (r *wireResolved) each(fn func(region uint64)) error {
	for _, n := range r.single {
		fn(n)
	}
	return eachVarint(r.regions, fn)
}

func eachVarint(b []byte, fn func(uint64)) error {
	for len(b) > 0 {
		v, n := uvarint(b)
		if n <= 0 {
			return errWire
		}
		fn(v)
		b = b[n:]
	}
	return nil
}

// nextRow reads the row at the head of the entries and returns the rest.
func nextRow(entries []byte, r *wireRow) ([]byte, error) {
	var f field
	for len(entries) > 0 {
		rest, err := next(entries, &f)
		if err != nil {
			return nil, err
		}
		if f.num == 1 && f.body != nil {
			return rest, parseRow(f.body, r)
		}
		entries = rest
	}
	r.typ = 0
	return nil, nil
}

func parseRow(b []byte, r *wireRow) error {
	*r = wireRow{rec: b}
	var f field
	var err error
	rest := b
	for len(rest) > 0 {
		if rest, err = next(rest, &f); err != nil {
			return err
		}
		// A body ends where the rest begins.
		end := len(b) - len(rest)
		switch f.num {
		case 1:
			r.startTs = f.n
		case 2:
			r.commitTs = f.n
		case 3:
			r.typ = rowType(min(f.n, math.MaxUint8))
		case 4:
			r.op = uint8(min(f.n, math.MaxUint8))
		case 5:
			r.keyOff, r.keyLen = end-len(f.body), len(f.body)
		case 6:
			r.valueOff, r.valueLen = end-len(f.body), len(f.body)
		case 7:
			r.oldOff, r.oldLen = end-len(f.body), len(f.body)
		case 10:
			r.generation = f.n
		}
	}
	return nil
}
