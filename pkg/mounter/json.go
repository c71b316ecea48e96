package mounter

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/pingcap/tidb/pkg/types"
)

var errBadJSON = errors.New("bad binary JSON")

// maxJSONDepth is more than TiDB lets into a column.
const maxJSONDepth = 200

// The layout of objects and arrays: element count and total size, 4 bytes
// each; for objects one entry per key (offset 4, length 2); one entry per
// value (type 1, offset or literal 4); then keys and values. Offsets count
// from the element count on.
const (
	jsonHeader   = 8
	jsonKeyEntry = 6
	jsonValEntry = 5
)

// jsonSize is the length of the JSON value, type byte included, that b begins
// with; 0 when it is cut short.
func jsonSize(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	size := jsonValueSize(b[0], b[1:])
	if size <= 0 || size > len(b)-1 {
		return 0
	}
	return size + 1
}

func jsonValueSize(kind byte, b []byte) int {
	switch kind {
	case types.JSONTypeCodeLiteral:
		return 1
	case types.JSONTypeCodeInt64, types.JSONTypeCodeUint64, types.JSONTypeCodeFloat64,
		types.JSONTypeCodeDate, types.JSONTypeCodeDatetime, types.JSONTypeCodeTimestamp:
		return 8
	case types.JSONTypeCodeDuration:
		return 12
	case types.JSONTypeCodeString:
		return prefixedSize(b)
	case types.JSONTypeCodeOpaque:
		if len(b) == 0 {
			return 0
		}
		if size := prefixedSize(b[1:]); size > 0 {
			return size + 1
		}
	case types.JSONTypeCodeObject, types.JSONTypeCodeArray:
		if len(b) >= jsonHeader {
			if size := int(binary.LittleEndian.Uint32(b[4:])); size >= jsonHeader {
				return size
			}
		}
	}
	return 0
}

// prefixedSize is the length of bytes that follow their own length.
func prefixedSize(b []byte) int {
	n, head := binary.Uvarint(b)
	if head <= 0 || n > uint64(len(b)-head) {
		return 0
	}
	return head + int(n)
}

func prefixed(b []byte) ([]byte, bool) {
	size := prefixedSize(b)
	if size == 0 {
		return nil, false
	}
	_, head := binary.Uvarint(b)
	return b[head:size], true
}

// appendJSON shows binary JSON as TiDB does: a blank after colon and comma,
// keys in stored order.
func appendJSON(dst, b []byte) ([]byte, error) {
	if len(b) == 0 {
		return dst, errBadJSON
	}
	w := jsonWriter{out: dst, budget: len(b)}
	if !w.value(b[0], b[1:], 0) {
		return dst, errBadJSON
	}
	return w.out, nil
}

// jsonWriter writes one document. In a sound one every byte belongs to one
// value, so the values together are no longer than the document: the budget
// ends broken ones, whose offsets may go round in circles.
type jsonWriter struct {
	out    []byte
	budget int
}

func (w *jsonWriter) spend(n int) bool {
	w.budget -= n
	return w.budget >= 0
}

// value writes the value that b begins with, false when it is broken.
func (w *jsonWriter) value(kind byte, b []byte, depth int) bool {
	size := jsonValueSize(kind, b)
	if size <= 0 || size > len(b) || depth > maxJSONDepth {
		return false
	}
	switch kind {
	case types.JSONTypeCodeArray:
		return w.array(b[:size], depth)
	case types.JSONTypeCodeObject:
		return w.object(b[:size], depth)
	}
	if !w.spend(size) {
		return false
	}
	var ok bool
	w.out, ok = appendJSONScalar(w.out, kind, b[:size])
	return ok
}

func (w *jsonWriter) array(b []byte, depth int) bool {
	count := int(binary.LittleEndian.Uint32(b))
	head := jsonHeader + count*jsonValEntry
	if head > len(b) || !w.spend(head) {
		return false
	}
	w.out = append(w.out, '[')
	for i := range count {
		if i > 0 {
			w.out = append(w.out, ", "...)
		}
		if !w.entry(b, jsonHeader+i*jsonValEntry, depth) {
			return false
		}
	}
	w.out = append(w.out, ']')
	return true
}

func (w *jsonWriter) object(b []byte, depth int) bool {
	count := int(binary.LittleEndian.Uint32(b))
	head := jsonHeader + count*(jsonKeyEntry+jsonValEntry)
	if head > len(b) || !w.spend(head) {
		return false
	}
	w.out = append(w.out, '{')
	for i := range count {
		if i > 0 {
			w.out = append(w.out, ", "...)
		}
		key := b[jsonHeader+i*jsonKeyEntry:]
		off, n := int(binary.LittleEndian.Uint32(key)), int(binary.LittleEndian.Uint16(key[4:]))
		if off+n > len(b) || !w.spend(n) {
			return false
		}
		w.out = append(appendJSONString(w.out, b[off:off+n]), ": "...)
		if !w.entry(b, jsonHeader+count*jsonKeyEntry+i*jsonValEntry, depth) {
			return false
		}
	}
	w.out = append(w.out, '}')
	return true
}

// entry writes the element whose type and offset stand at a position.
func (w *jsonWriter) entry(b []byte, at, depth int) bool {
	if kind := b[at]; kind != types.JSONTypeCodeLiteral {
		off := int(binary.LittleEndian.Uint32(b[at+1:]))
		return off <= len(b) && w.value(kind, b[off:], depth+1)
	}
	var ok bool
	w.out, ok = appendJSONLiteral(w.out, b[at+1])
	return ok
}

// appendJSONScalar writes a value that holds no others; b is exactly its bytes.
func appendJSONScalar(dst []byte, kind byte, b []byte) ([]byte, bool) {
	switch kind {
	case types.JSONTypeCodeLiteral:
		return appendJSONLiteral(dst, b[0])
	case types.JSONTypeCodeInt64:
		return strconv.AppendInt(dst, int64(binary.LittleEndian.Uint64(b)), 10), true
	case types.JSONTypeCodeUint64:
		return strconv.AppendUint(dst, binary.LittleEndian.Uint64(b), 10), true
	case types.JSONTypeCodeFloat64:
		return appendJSONFloat(dst, math.Float64frombits(binary.LittleEndian.Uint64(b)))
	case types.JSONTypeCodeString:
		s, ok := prefixed(b)
		return appendJSONString(dst, s), ok
	case types.JSONTypeCodeOpaque:
		s, ok := prefixed(b[1:])
		dst = append(dst, `"base64:type`...)
		dst = append(strconv.AppendInt(dst, int64(b[0]), 10), ':')
		return append(base64.StdEncoding.AppendEncode(dst, s), '"'), ok
	case types.JSONTypeCodeDuration:
		dst = append(dst, '"')
		return append(appendDuration(dst, int64(binary.LittleEndian.Uint64(b)), 6), '"'), true
	}
	return appendJSONTime(dst, kind, b), true
}

func appendJSONLiteral(dst []byte, literal byte) ([]byte, bool) {
	switch literal {
	case types.JSONLiteralNil:
		return append(dst, "null"...), true
	case types.JSONLiteralTrue:
		return append(dst, "true"...), true
	case types.JSONLiteralFalse:
		return append(dst, "false"...), true
	}
	return dst, false
}

// appendJSONTime shows a date, datetime or timestamp inside JSON: always with
// six digits after the second, and in the zone it was written in.
func appendJSONTime(dst []byte, kind byte, b []byte) []byte {
	t := types.CoreTime(binary.LittleEndian.Uint64(b))
	c := civil{t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Microsecond()}
	dst = append(dst, '"')
	if kind == types.JSONTypeCodeDate {
		dst = appendDate(dst, c)
	} else {
		dst = appendDatetime(dst, c, 6)
	}
	return append(dst, '"')
}

// appendJSONFloat writes at least one digit after the point, and exponents
// without plus sign or leading zero.
func appendJSONFloat(dst []byte, f float64) ([]byte, bool) {
	abs := math.Abs(f)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, false
	}
	start := len(dst)
	if abs == 0 || abs >= 1e-15 && abs < 1e15 {
		dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
		for _, c := range dst[start:] {
			if c == '.' {
				return dst, true
			}
		}
		return append(dst, ".0"...), true
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if n := len(dst); dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		return dst[:n-1], true
	}
	for i := start; i < len(dst); i++ {
		if dst[i] == '+' {
			return append(dst[:i], dst[i+1:]...), true
		}
	}
	return dst, true
}

const hexDigits = "0123456789abcdef"

// appendJSONString quotes a string as TiDB does: control characters, broken
// UTF-8 and the two line separators of Unicode are escaped.
func appendJSONString(dst, s []byte) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c, size := rune(s[i]), 1
		if c >= utf8.RuneSelf {
			c, size = utf8.DecodeRune(s[i:])
		}
		if !needsEscape(c, size) {
			i += size
			continue
		}
		dst = appendEscaped(append(dst, s[start:i]...), c)
		i += size
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

func needsEscape(c rune, size int) bool {
	return c < 0x20 || c == '"' || c == '\\' || c == utf8.RuneError && size == 1 || c == '\u2028' || c == '\u2029'
}

func appendEscaped(dst []byte, c rune) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', byte(c))
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	}
	return append(dst, '\\', 'u', hexDigits[c>>12&15], hexDigits[c>>8&15], hexDigits[c>>4&15], hexDigits[c&15])
}
