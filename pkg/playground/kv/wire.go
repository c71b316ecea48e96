package kv

import (
	"encoding/binary"

	"github.com/pingcap/kvproto/pkg/cdcpb"
)

// The change feed writes its messages by hand: a row goes from the engine's memory into the message with one copy and
// without an object of its own. Field numbers are those of cdcpb.proto.
const (
	tagMessageEvent    = 1<<3 | 2 // ChangeDataEvent.events
	tagMessageResolved = 2<<3 | 2 // ChangeDataEvent.resolved_ts

	tagEventRegion   = 1 << 3 // Event.region_id
	tagEventEntries  = 3<<3 | 2
	tagEventError    = 5<<3 | 2
	tagEventResolved = 6 << 3
	tagEventRequest  = 7 << 3

	tagEntriesRow = 1<<3 | 2

	tagRowStart    = 1 << 3
	tagRowCommit   = 2 << 3
	tagRowType     = 3 << 3
	tagRowOp       = 4 << 3
	tagRowKey      = 5<<3 | 2
	tagRowValue    = 6<<3 | 2
	tagRowOldValue = 7<<3 | 2
	tagRowSource   = 9 << 3

	tagResolvedRegions = 1<<3 | 2
	tagResolvedTs      = 2 << 3
	tagResolvedRequest = 3 << 3
)

// eventHeaderMax is the most that the fields before an event's rows take.
const eventHeaderMax = 4*binary.MaxVarintLen64 + 4

// row is one change as the feed sends it. The slices are only read.
type row struct {
	kind     cdcpb.Event_LogType
	op       cdcpb.Event_Row_OpType
	startTs  uint64
	commitTs uint64
	source   uint64
	key      []byte
	value    []byte
	oldValue []byte
}

// appendRow appends the row as one element of Entries.entries.
func appendRow(b []byte, r *row) []byte {
	b = append(b, tagEntriesRow)
	b = binary.AppendUvarint(b, uint64(r.size()))
	b = appendUint(b, tagRowStart, r.startTs)
	b = appendUint(b, tagRowCommit, r.commitTs)
	b = appendUint(b, tagRowType, uint64(r.kind))
	b = appendUint(b, tagRowOp, uint64(r.op))
	b = appendBytes(b, tagRowKey, r.key)
	b = appendBytes(b, tagRowValue, r.value)
	b = appendBytes(b, tagRowOldValue, r.oldValue)
	return appendUint(b, tagRowSource, r.source)
}

func (r *row) size() int {
	return sizeUint(r.startTs) + sizeUint(r.commitTs) + sizeUint(uint64(r.kind)) + sizeUint(uint64(r.op)) +
		sizeBytes(r.key) + sizeBytes(r.value) + sizeBytes(r.oldValue) + sizeUint(r.source)
}

// eventBuffer builds the rows of one event. Room for the event's header is kept in front, because the header holds
// the length of what follows it.
type eventBuffer struct {
	buf []byte
}

func (e *eventBuffer) reset() {
	if cap(e.buf) < eventHeaderMax {
		e.buf = make([]byte, eventHeaderMax, 1024)
	}
	e.buf = e.buf[:eventHeaderMax]
}

func (e *eventBuffer) add(r *row) { e.buf = appendRow(e.buf, r) }

// len returns the bytes of the rows so far.
func (e *eventBuffer) len() int { return len(e.buf) - eventHeaderMax }

// finish returns the complete "events" field of a message, a part of the buffer.
func (e *eventBuffer) finish(regionID, requestID uint64) []byte {
	rows := e.len()
	inner := sizeUint(regionID) + sizeUint(requestID) + 1 + sizeVarint(uint64(rows))
	header := 1 + sizeVarint(uint64(inner+rows)) + inner
	start := eventHeaderMax - header
	h := e.buf[start:start]
	h = append(h, tagMessageEvent)
	h = binary.AppendUvarint(h, uint64(inner+rows))
	h = appendUint(h, tagEventRegion, regionID)
	h = appendUint(h, tagEventRequest, requestID)
	h = append(h, tagEventEntries)
	binary.AppendUvarint(h, uint64(rows))
	return e.buf[start:]
}

// appendErrorEvent appends an "events" field with an error.
func appendErrorEvent(b []byte, regionID, requestID uint64, e *cdcpb.Error) ([]byte, error) {
	body, err := e.Marshal()
	if err != nil {
		return b, err
	}
	inner := sizeUint(regionID) + sizeUint(requestID) + 1 + sizeVarint(uint64(len(body))) + len(body)
	b = append(b, tagMessageEvent)
	b = binary.AppendUvarint(b, uint64(inner))
	b = appendUint(b, tagEventRegion, regionID)
	b = appendUint(b, tagEventRequest, requestID)
	b = append(b, tagEventError)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...), nil
}

// appendResolvedEvent appends an "events" field with the resolved-ts of one region, the form of clients before 4.0.8.
func appendResolvedEvent(b []byte, regionID, requestID, ts uint64) []byte {
	inner := sizeUint(regionID) + sizeUint(requestID) + 1 + sizeVarint(ts)
	b = append(b, tagMessageEvent)
	b = binary.AppendUvarint(b, uint64(inner))
	b = appendUint(b, tagEventRegion, regionID)
	b = appendUint(b, tagEventRequest, requestID)
	b = append(b, tagEventResolved)
	return binary.AppendUvarint(b, ts)
}

// appendResolvedBatch appends the "resolved_ts" field of a message. A request ID of 0 is left out.
func appendResolvedBatch(b []byte, regions []uint64, ts, requestID uint64) []byte {
	packed := 0
	for _, id := range regions {
		packed += sizeVarint(id)
	}
	inner := 1 + sizeVarint(uint64(packed)) + packed + sizeUint(ts) + sizeUint(requestID)
	b = append(b, tagMessageResolved)
	b = binary.AppendUvarint(b, uint64(inner))
	b = append(b, tagResolvedRegions)
	b = binary.AppendUvarint(b, uint64(packed))
	for _, id := range regions {
		b = binary.AppendUvarint(b, id)
	}
	b = appendUint(b, tagResolvedTs, ts)
	return appendUint(b, tagResolvedRequest, requestID)
}

func appendUint(b []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendUvarint(append(b, tag), v)
}

func appendBytes(b []byte, tag byte, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return append(binary.AppendUvarint(append(b, tag), uint64(len(v))), v...)
}

func sizeUint(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + sizeVarint(v)
}

func sizeBytes(v []byte) int {
	if len(v) == 0 {
		return 0
	}
	return 1 + sizeVarint(uint64(len(v))) + len(v)
}

func sizeVarint(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}
