package codec

import (
	"strconv"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/charset"
	"github.com/pingcap/tidb/pkg/parser/format"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/types"
)

// TypeName is the short name of a column type, such as "bigint unsigned",
// "varchar" or "blob".
func TypeName(ft *types.FieldType) string {
	return types.TypeToStr(ft.GetType(), ft.GetCharset()) + typeAttributes(ft)
}

// FullTypeName is the name as a column definition has it, such as
// "int(11) unsigned", "varchar(20)" or "enum('a','b')".
func FullTypeName(ft *types.FieldType) string {
	return types.TypeToStr(ft.GetType(), ft.GetCharset()) + typeSize(ft) + typeAttributes(ft)
}

func typeAttributes(ft *types.FieldType) string {
	if tp := ft.GetType(); tp == mysql.TypeBit || tp == mysql.TypeYear {
		return ""
	}
	s := ""
	if mysql.HasUnsignedFlag(ft.GetFlag()) {
		s = " unsigned"
	}
	if mysql.HasZerofillFlag(ft.GetFlag()) {
		s += " zerofill"
	}
	return s
}

// typeSize is what stands in parentheses behind the type's name. It is written
// out here because TiDB's own text depends on a process-wide switch.
func typeSize(ft *types.FieldType) string {
	length, scale := TypeLength(ft)
	switch ft.GetType() {
	case mysql.TypeEnum, mysql.TypeSet:
		return "('" + strings.Join(escapedElems(ft), "','") + "')"
	case mysql.TypeTimestamp, mysql.TypeDatetime, mysql.TypeDuration:
		if scale > 0 {
			return sized(scale)
		}
	case mysql.TypeDouble, mysql.TypeFloat:
		if scale > 0 {
			return sized(length, scale)
		}
	case mysql.TypeNewDecimal:
		return sized(length, scale)
	case mysql.TypeBit, mysql.TypeVarchar, mysql.TypeString, mysql.TypeVarString, mysql.TypeYear,
		mysql.TypeTiny, mysql.TypeShort, mysql.TypeInt24, mysql.TypeLong, mysql.TypeLonglong:
		return sized(length)
	case mysql.TypeTiDBVectorFloat32:
		if ft.GetFlen() != types.UnspecifiedLength {
			return sized(length)
		}
	}
	return ""
}

func sized(numbers ...int) string {
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = strconv.Itoa(n)
	}
	return "(" + strings.Join(texts, ",") + ")"
}

func escapedElems(ft *types.FieldType) []string {
	escaped := make([]string, len(ft.GetElems()))
	for i, e := range ft.GetElems() {
		escaped[i] = format.OutputFormat(e)
	}
	return escaped
}

// TypeLength is the length and scale of a type, with the type's defaults where
// the column's definition says nothing; -1 where there is no default either.
func TypeLength(ft *types.FieldType) (length, scale int) {
	length, scale = ft.GetFlen(), ft.GetDecimal()
	defaultLength, defaultScale := mysql.GetDefaultFieldLengthAndDecimal(ft.GetType())
	if length == types.UnspecifiedLength {
		length = defaultLength
	}
	if scale == types.UnspecifiedLength {
		scale = defaultScale
	}
	return length, scale
}

// IsString tells char, varchar and text types, and with them binary and blob.
func IsString(ft *types.FieldType) bool { return IsChar(ft.GetType()) || IsBlob(ft.GetType()) }

// IsBinary tells binary, varbinary and the blob types.
func IsBinary(ft *types.FieldType) bool {
	return ft.GetCharset() == charset.CharsetBin && IsString(ft)
}

// IsBlob tells the four text types and the four blob types.
func IsBlob(tp byte) bool {
	switch tp {
	case mysql.TypeTinyBlob, mysql.TypeMediumBlob, mysql.TypeBlob, mysql.TypeLongBlob:
		return true
	}
	return false
}

// IsChar tells char and varchar types, and with them binary and varbinary.
func IsChar(tp byte) bool {
	return tp == mysql.TypeVarchar || tp == mysql.TypeString || tp == mysql.TypeVarString
}
