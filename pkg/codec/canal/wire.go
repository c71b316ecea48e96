package canal

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/canal/canalpb"
)

// The numbers of the fields that are written.
const (
	packetVersion = 2
	packetType    = 3
	packetBody    = 5

	messagesEntry = 2

	entryHeader     = 1
	entryType       = 2
	entryStoreValue = 3

	headerVersion     = 1
	headerCharset     = 5
	headerExecuteTime = 6
	headerSourceType  = 7
	headerSchema      = 8
	headerTable       = 9
	headerEventType   = 11
	headerProps       = 12

	changeEventType = 2
	changeIsDDL     = 10
	changeSQL       = 11
	changeRowDatas  = 12
	changeSchema    = 14

	rowBefore = 1
	rowAfter  = 2

	columnSQLType   = 2
	columnName      = 3
	columnIsKey     = 4
	columnUpdated   = 5
	columnIsNull    = 6
	columnValue     = 8
	columnMySQLType = 10
)

// version is the version of packets and of entry headers.
const version = 1

// rowsCount is the serialized Pair of that name with the value 1.
const rowsCount = "\x0a\x09rowsCount\x12\x011"

// tagSize is the size of a field's tag; all fields up to number 15 have it.
const tagSize = 1

func appendVarint(dst []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), v)
}

func appendBytes(dst []byte, field protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), b)
}

// appendString leaves an empty string out, as proto3 does.
func appendString(dst []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, field, protowire.BytesType), s)
}

// sizeOfField is the size of a field with n bytes of content.
func sizeOfField(n int) int { return tagSize + protowire.SizeBytes(n) }

func appendHeader(dst []byte, commitTs uint64, schema, table string, event canalpb.EventType) []byte {
	dst = appendVarint(dst, headerVersion, version)
	dst = appendString(dst, headerCharset, "UTF-8")
	dst = appendVarint(dst, headerExecuteTime, commitTs>>physicalShift)
	dst = appendVarint(dst, headerSourceType, uint64(canalpb.Type_MYSQL))
	dst = appendString(dst, headerSchema, schema)
	dst = appendString(dst, headerTable, table)
	return appendVarint(dst, headerEventType, uint64(event))
}

func appendEntry(dst, header, change []byte) []byte {
	dst = appendBytes(dst, entryHeader, header)
	dst = appendVarint(dst, entryType, uint64(canalpb.EntryType_ROWDATA))
	return appendBytes(dst, entryStoreValue, change)
}

// appendPacket wraps the serialized Messages.
func appendPacket(dst, messages []byte) []byte {
	dst = appendVarint(dst, packetVersion, version)
	dst = appendVarint(dst, packetType, uint64(canalpb.PacketType_MESSAGES))
	return appendBytes(dst, packetBody, messages)
}

// packetSize is the size of a packet around n bytes of Messages.
func packetSize(n int) int { return 2*(tagSize+1) + sizeOfField(n) }

// messageSize is what such a packet counts against the limit.
func messageSize(n int) int { return packetSize(n) + codec.RecordOverhead }
