package changes

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/tidemark/tidemark/pkg/model"
)

// This file reads the wire form of cdcpb.ChangeDataEvent without making an
// object per row: rows are windows into the message. The field numbers are
// those of kvproto's cdcpb.proto; a tag is the number times 8 plus the wire
// type.

// errWire tells a message that is not valid protobuf.
var errWire = errors.New("malformed change data event")

// rowType is cdcpb.Event.LogType.
type rowType int32

const (
	rowPrewrite    rowType = 1
	rowCommit      rowType = 2
	rowRollback    rowType = 3
	rowCommitted   rowType = 4
	rowInitialized rowType = 5
)

// rowOp is cdcpb.Event.Row.OpType.
type rowOp int32

const (
	opPut    rowOp = 1
	opDelete rowOp = 2
)

// wireRow is one cdcpb.Event.Row. Offsets count from the start of rec.
type wireRow struct {
	startTs, commitTs, generation uint64

	rec                []byte // the row's part of the message
	keyOff, keyLen     uint32
	valueOff, valueLen uint32
	oldOff, oldLen     uint32

	typ rowType
	op  rowOp
}

func (r *wireRow) key() []byte { return r.rec[r.keyOff : r.keyOff+r.keyLen] }

// change makes the committed change of the row's content.
func (r *wireRow) change(commitTs uint64) model.RawChange {
	return model.RawChangeAt(r.startTs, commitTs, r.rec,
		int(r.keyOff), int(r.keyLen), int(r.valueOff), int(r.valueLen), int(r.oldOff), int(r.oldLen))
}

// eventKind is the member of cdcpb.Event's oneof.
type eventKind uint8

const (
	eventNone eventKind = iota
	eventRows
	eventError
	eventResolved
	eventOther // admin commands and long transactions: not used
)

// wireEvent is one cdcpb.Event: rows, an error or a resolved-ts of one region.
type wireEvent struct {
	region, request uint64
	kind            eventKind
	body            []byte // of Event.Entries or cdcpb.Error
	resolvedTs      uint64
}

// wireMessage is one cdcpb.ChangeDataEvent. It is reused from message to
// message.
type wireMessage struct {
	events []wireEvent
	// resolved is the batched resolved-ts: of all the regions of one request.
	resolved struct {
		regions     []uint64
		ts, request uint64
	}
}

// varint reads the number at b[i:] and returns the index behind it, -1 when
// there is none.
func varint(b []byte, i int) (uint64, int) {
	if i < len(b) && b[i] < 0x80 {
		return uint64(b[i]), i + 1
	}
	return longVarint(b, i)
}

func longVarint(b []byte, i int) (uint64, int) {
	v, n := binary.Uvarint(b[i:])
	if n <= 0 {
		return 0, -1
	}
	return v, i + n
}

// body reads the length at b[i:] and returns the window that follows it, a
// negative end when it reaches beyond b.
func body(b []byte, i int) (start, end int) {
	size, i := varint(b, i)
	if i < 0 || size > uint64(len(b)-i) {
		return 0, -1
	}
	return i, i + int(size)
}

// skip passes over the value of a field that is not known and returns the
// index behind it, -1 when it is not valid. Field numbers up to known are of
// another wire type than they should be, a tag has 32 bits at most, and groups
// are not used by the protocol.
func skip(b []byte, i int, tag, known uint64) int {
	if tag>>3 <= known || tag > math.MaxUint32 {
		return -1
	}
	switch tag & 7 {
	case 0:
		_, i = varint(b, i)
	case 1:
		i += 8
	case 2:
		_, i = body(b, i)
	case 5:
		i += 4
	default:
		return -1
	}
	if i > len(b) {
		return -1
	}
	return i
}

// parse reads a whole message except for the rows in it, see nextRow. The
// bodies are windows into b.
func (m *wireMessage) parse(b []byte) error {
	m.events = m.events[:0]
	m.resolved.regions, m.resolved.ts, m.resolved.request = m.resolved.regions[:0], 0, 0
	for i := 0; i < len(b); {
		tag, start := varint(b, i)
		if start < 0 {
			return errWire
		}
		if tag != 1<<3|2 && tag != 2<<3|2 {
			if i = skip(b, start, tag, 2); i < 0 {
				return errWire
			}
			continue
		}
		var end int
		if start, end = body(b, start); end < 0 {
			return errWire
		}
		i = end
		if tag == 2<<3|2 {
			if err := m.parseResolved(b[start:end]); err != nil {
				return err
			}
			continue
		}
		m.events = append(m.events, wireEvent{})
		if err := m.events[len(m.events)-1].parse(b[start:end]); err != nil {
			return err
		}
	}
	return nil
}

func (e *wireEvent) parse(b []byte) error {
	for i := 0; i < len(b); {
		tag, at := varint(b, i)
		if at < 0 {
			return errWire
		}
		switch tag {
		case 1 << 3:
			e.region, i = varint(b, at)
		case 2 << 3:
			_, i = varint(b, at)
		case 6 << 3:
			if e.kind != eventNone {
				return errWire // an event is one thing only
			}
			e.resolvedTs, i = varint(b, at)
			e.kind = eventResolved
		case 7 << 3:
			e.request, i = varint(b, at)
		case 3<<3 | 2, 4<<3 | 2, 5<<3 | 2, 8<<3 | 2:
			var start int
			if start, i = body(b, at); i < 0 || e.kind != eventNone {
				return errWire
			}
			e.body, e.kind = b[start:i], eventOther
			switch tag >> 3 {
			case 3:
				e.kind = eventRows
			case 5:
				e.kind = eventError
			}
		default:
			i = skip(b, at, tag, 8)
		}
		if i < 0 {
			return errWire
		}
	}
	return nil
}

func (m *wireMessage) parseResolved(b []byte) error {
	r := &m.resolved
	for i := 0; i < len(b); {
		tag, at := varint(b, i)
		if at < 0 {
			return errWire
		}
		switch tag {
		case 1 << 3:
			var region uint64
			region, i = varint(b, at)
			r.regions = append(r.regions, region)
		case 1<<3 | 2:
			var start int
			if start, i = body(b, at); i < 0 {
				return errWire
			}
			for start < i {
				var region uint64
				if region, start = varint(b[:i], start); start < 0 {
					return errWire
				}
				r.regions = append(r.regions, region)
			}
		case 2 << 3:
			r.ts, i = varint(b, at)
		case 3 << 3:
			r.request, i = varint(b, at)
		default:
			i = skip(b, at, tag, 3)
		}
		if i < 0 {
			return errWire
		}
	}
	return nil
}

// nextRow reads the row at the head of the entries and returns the rest. ok
// is false when there was no further row.
func nextRow(entries []byte, r *wireRow) (rest []byte, ok bool, err error) {
	for i := 0; i < len(entries); {
		tag, at := varint(entries, i)
		if at < 0 {
			return nil, false, errWire
		}
		if tag != 1<<3|2 {
			if i = skip(entries, at, tag, 1); i < 0 {
				return nil, false, errWire
			}
			continue
		}
		start, end := body(entries, at)
		if end < 0 {
			return nil, false, errWire
		}
		return entries[end:], true, r.parse(entries[start:end:end])
	}
	return nil, false, nil
}

// parse is where most of the work per row is done: everything known takes one
// step of the switch.
func (r *wireRow) parse(b []byte) error {
	*r = wireRow{rec: b}
	var start int
	var n uint64
	for i := 0; i < len(b); {
		tag, at := varint(b, i)
		if at < 0 {
			return errWire
		}
		switch tag {
		case 1 << 3:
			r.startTs, i = varint(b, at)
		case 2 << 3:
			r.commitTs, i = varint(b, at)
		case 3 << 3:
			n, i = varint(b, at)
			r.typ = rowType(n)
		case 4 << 3:
			n, i = varint(b, at)
			r.op = rowOp(n)
		case 5<<3 | 2:
			start, i = body(b, at)
			r.keyOff, r.keyLen = uint32(start), uint32(i-start)
		case 6<<3 | 2:
			start, i = body(b, at)
			r.valueOff, r.valueLen = uint32(start), uint32(i-start)
		case 7<<3 | 2:
			start, i = body(b, at)
			r.oldOff, r.oldLen = uint32(start), uint32(i-start)
		case 8 << 3, 9 << 3: // expiry and source of the row: not used
			_, i = varint(b, at)
		case 10 << 3:
			r.generation, i = varint(b, at)
		default:
			i = skip(b, at, tag, 10)
		}
		if i < 0 {
			return errWire
		}
	}
	return nil
}
