package mysql

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"

	timysql "github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/tidemark/tidemark/pkg/model"
)

// litClass says how the byte content of a column's values becomes a literal.
// Numbers need no class: their value kind says it all.
type litClass uint8

const (
	litText   litClass = iota // 'escaped', in the connection's utf8mb4
	litBinary                 // _binary'escaped': bytes that no charset applies to
	litBare                   // as it is: decimal digits
	litJSON                   // CAST('escaped' AS JSON), which a JSON column can be compared with
)

func classOf(c *model.Column) litClass {
	switch c.Type {
	case timysql.TypeNewDecimal:
		return litBare
	case timysql.TypeString, timysql.TypeVarchar, timysql.TypeVarString,
		timysql.TypeTinyBlob, timysql.TypeBlob, timysql.TypeMediumBlob, timysql.TypeLongBlob:
		if c.Has(model.FlagBinary) {
			return litBinary
		}
	}
	return litText
}

// appendLiteral writes a value as an SQL literal that MySQL, MariaDB and TiDB
// read back as exactly this value, given a utf8mb4 connection and a sql_mode
// without NO_BACKSLASH_ESCAPES.
func appendLiteral(buf []byte, v *model.Value, class litClass) []byte {
	switch v.Kind {
	case model.KindNull:
		return append(buf, "NULL"...)
	case model.KindInt:
		return strconv.AppendInt(buf, int64(v.N), 10)
	case model.KindUint:
		return strconv.AppendUint(buf, v.N, 10)
	case model.KindFloat32, model.KindFloat64:
		// The exponent makes it a DOUBLE literal, not a DECIMAL one. A float
		// is written as the double that equals it, so that comparing the
		// column with the literal holds.
		return strconv.AppendFloat(buf, math.Float64frombits(v.N), 'e', -1, 64)
	case model.KindVector:
		buf = append(buf, '\'')
		buf = appendVector(buf, v.B)
		return append(buf, '\'')
	}
	switch class {
	case litBare:
		return append(buf, v.B...)
	case litBinary:
		buf = append(buf, "_binary'"...)
	case litJSON:
		buf = append(buf, "CAST('"...)
		return append(appendEscaped(buf, v.B), "' AS JSON)"...)
	default:
		buf = append(buf, '\'')
	}
	return append(appendEscaped(buf, v.B), '\'')
}

// appendEscaped writes the inside of a quoted literal. Only the quote and the
// backslash must be escaped; NUL and Ctrl-Z are too, as in MySQL's own client.
func appendEscaped(buf, s []byte) []byte {
	if !needsEscape(s) {
		return append(buf, s...)
	}
	start := 0
	for i := 0; i < len(s); i++ {
		var e byte
		switch s[i] {
		case '\'', '\\':
			e = s[i]
		case 0:
			e = '0'
		case 0x1a:
			e = 'Z'
		default:
			continue
		}
		buf = append(buf, s[start:i]...)
		buf = append(buf, '\\', e)
		start = i + 1
	}
	return append(buf, s[start:]...)
}

// needsEscape looks for the four bytes with the vectorised byte search, which
// is several times faster than a loop over ordinary text.
func needsEscape(s []byte) bool {
	return bytes.IndexByte(s, '\'') >= 0 || bytes.IndexByte(s, '\\') >= 0 ||
		bytes.IndexByte(s, 0) >= 0 || bytes.IndexByte(s, 0x1a) >= 0
}

// appendVector writes little-endian float32s in TiDB's text form.
func appendVector(buf, b []byte) []byte {
	buf = append(buf, '[')
	for i := 0; i+4 <= len(b); i += 4 {
		if i > 0 {
			buf = append(buf, ',')
		}
		f := math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))
		buf = strconv.AppendFloat(buf, float64(f), 'g', -1, 32)
	}
	return append(buf, ']')
}

// argument is the value as a parameter of a prepared statement; false for
// values that compare exactly only as literals.
func argument(v *model.Value, class litClass) (any, bool) {
	switch v.Kind {
	case model.KindNull:
		return nil, true
	case model.KindInt:
		return int64(v.N), true
	case model.KindUint:
		return v.N, true
	case model.KindFloat32, model.KindFloat64:
		return math.Float64frombits(v.N), true
	case model.KindVector:
		return string(appendVector(nil, v.B)), true
	}
	switch class {
	case litBare, litJSON:
		return nil, false
	case litBinary:
		return bytes.Clone(v.B), true
	default:
		return string(v.B), true
	}
}

// appendIdent writes a quoted identifier.
func appendIdent(buf []byte, name string) []byte {
	buf = append(buf, '`')
	for i := 0; i < len(name); i++ {
		if name[i] == '`' {
			buf = append(buf, '`')
		}
		buf = append(buf, name[i])
	}
	return append(buf, '`')
}
