package codec

import (
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/tidemark/tidemark/pkg/model"
)

const hexDigits = "0123456789abcdef"

// jsonPlain tells whether an ASCII byte stands for itself in a JSON string that
// is safe to embed in HTML.
func jsonPlain(c byte) bool {
	return c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
}

// AppendJSONString appends s as a quoted JSON string, escaped as Go's standard
// encoder does: <, >, & and the line separators U+2028 and U+2029 as \u escapes,
// invalid UTF-8 as \ufffd.
func AppendJSONString[S ~string | ~[]byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	return append(appendEscaped(dst, s, true), '"')
}

// AppendCanalString is AppendJSONString, but that backspace and form feed are
// written as \u0008 and \u000c.
func AppendCanalString[S ~string | ~[]byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	return append(appendEscaped(dst, s, false), '"')
}

// appendEscaped copies runs of plain bytes at once. short says that backspace
// and form feed have escapes of two characters.
func appendEscaped[S ~string | ~[]byte](dst []byte, s S, short bool) []byte {
	start := 0
	for i := 0; i < len(s); {
		if i+8 <= len(s) && plainWord(word(s[i:i+8])) {
			i += 8
			continue
		}
		c := s[i]
		if c < utf8.RuneSelf {
			if !jsonPlain(c) {
				dst = appendEscape(append(dst, s[start:i]...), c, short)
				start = i + 1
			}
			i++
			continue
		}
		// Converting the rest would copy it, a rune has four bytes at most.
		r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(append(dst, s[start:i]...), `\ufffd`...)
			start = i + size
		case r == '\u2028' || r == '\u2029':
			dst = append(append(dst, s[start:i]...), `\u202`...)
			dst = append(dst, hexDigits[r&0xf])
			start = i + size
		}
		i += size
	}
	return append(dst, s[start:]...)
}

// word is eight bytes as a number; the compiler makes one load of it.
func word[S ~string | ~[]byte](s S) uint64 {
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// plainWord tells whether jsonPlain holds for all of eight ASCII bytes. It may
// say no where it does.
func plainWord(x uint64) bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x80 * ones
	)
	// Subtracting turns the high bit of a byte on that is too small, which for
	// the others means that it was zero. '"' and '&' differ in one bit, as do
	// '<' and '>'.
	quotes := (x | 0x04*ones) ^ '&'*ones
	angles := (x | 0x02*ones) ^ '>'*ones
	slashes := x ^ '\\'*ones
	special := x | (x-' '*ones)&^x | (quotes-ones)&^quotes | (angles-ones)&^angles | (slashes-ones)&^slashes
	return special&highs == 0
}

func appendEscape(dst []byte, c byte, short bool) []byte {
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c == '\n':
		return append(dst, '\\', 'n')
	case c == '\r':
		return append(dst, '\\', 'r')
	case c == '\t':
		return append(dst, '\\', 't')
	case short && c == '\b':
		return append(dst, '\\', 'b')
	case short && c == '\f':
		return append(dst, '\\', 'f')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}

// AppendCanalBytes appends binary data as the canal protocols show it: a quoted
// JSON string with one character per byte, ISO-8859-1.
func AppendCanalBytes(dst, b []byte) []byte {
	dst = append(dst, '"')
	for _, c := range b {
		switch {
		case c >= utf8.RuneSelf:
			dst = append(dst, 0xc0|c>>6, 0x80|c&0x3f)
		case jsonPlain(c):
			dst = append(dst, c)
		default:
			dst = appendEscape(dst, c, false)
		}
	}
	return append(dst, '"')
}

// AppendJSONPlain appends a value that is the same in all JSON protocols: NULL,
// a number or a vector. It returns false for all others, and appends nothing.
func AppendJSONPlain(dst []byte, v *model.Value) ([]byte, bool) {
	switch v.Kind {
	case model.KindNull:
		return append(dst, "null"...), true
	case model.KindInt, model.KindUint:
		return AppendText(dst, v), true
	case model.KindFloat32:
		return AppendJSONFloat(dst, math.Float64frombits(v.N), 32), true
	case model.KindFloat64:
		return AppendJSONFloat(dst, math.Float64frombits(v.N), 64), true
	case model.KindVector:
		return append(AppendVector(append(dst, '"'), v.B), '"'), true
	}
	return dst, false
}

// AppendJSONFloat appends a JSON number as Go's standard encoder does: shortest
// digits of a float of that many bits, with an exponent below 1e-6 and from 1e21
// on. f must be finite.
func AppendJSONFloat(dst []byte, f float64, bits int) []byte {
	abs := math.Abs(f)
	format := byte('f')
	if abs != 0 {
		if bits == 64 && (abs < 1e-6 || abs >= 1e21) ||
			bits == 32 && (float32(abs) < 1e-6 || float32(abs) >= 1e21) {
			format = 'e'
		}
	}
	dst = strconv.AppendFloat(dst, f, format, -1, bits)
	// e-09 is written e-9.
	if n := len(dst); format == 'e' && n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// AppendJSONBase64 appends b as a JSON string in standard, padded base64.
func AppendJSONBase64(dst, b []byte) []byte {
	dst = append(dst, '"')
	return append(base64.StdEncoding.AppendEncode(dst, b), '"')
}
