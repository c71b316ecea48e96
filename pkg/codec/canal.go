package codec

import (
	"math"
	"strconv"
	"strings"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/types"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// The numbers of java.sql.Types that canal and canal-json name columns by.
const (
	javaBit       = -7
	javaTinyint   = -6
	javaBigint    = -5
	javaChar      = 1
	javaDecimal   = 3
	javaInteger   = 4
	javaSmallint  = 5
	javaReal      = 7
	javaDouble    = 8
	javaVarchar   = 12
	javaDate      = 91
	javaTime      = 92
	javaTimestamp = 93
	javaBlob      = 2004
	javaClob      = 2005
)

// JavaType is the Java SQL type of a column. An unsigned value beyond the range
// of the plain type is announced as the next larger one.
type JavaType struct {
	plain, large int32
	limit        uint64 // the largest value of the plain type
}

// NewJavaType chooses the type of a column.
func NewJavaType(ft *types.FieldType) JavaType {
	if mysql.HasUnsignedFlag(ft.GetFlag()) {
		switch ft.GetType() {
		case mysql.TypeTiny:
			return JavaType{javaTinyint, javaSmallint, math.MaxInt8}
		case mysql.TypeShort:
			return JavaType{javaSmallint, javaInteger, math.MaxInt16}
		case mysql.TypeLong:
			return JavaType{javaInteger, javaBigint, math.MaxInt32}
		case mysql.TypeLonglong:
			return JavaType{javaBigint, javaDecimal, math.MaxInt64}
		}
	}
	plain := plainJavaType(ft)
	return JavaType{plain, plain, math.MaxUint64}
}

func plainJavaType(ft *types.FieldType) int32 {
	if IsBinary(ft) {
		return javaBlob
	}
	switch ft.GetType() {
	case mysql.TypeTiny:
		return javaTinyint
	case mysql.TypeShort:
		return javaSmallint
	case mysql.TypeInt24, mysql.TypeLong, mysql.TypeEnum:
		return javaInteger
	case mysql.TypeLonglong:
		return javaBigint
	case mysql.TypeFloat:
		return javaReal
	case mysql.TypeDouble:
		return javaDouble
	case mysql.TypeNewDecimal:
		return javaDecimal
	case mysql.TypeBit, mysql.TypeSet:
		return javaBit
	case mysql.TypeDate, mysql.TypeNewDate:
		return javaDate
	case mysql.TypeDuration:
		return javaTime
	case mysql.TypeDatetime, mysql.TypeTimestamp:
		return javaTimestamp
	case mysql.TypeString:
		return javaChar
	case mysql.TypeTinyBlob, mysql.TypeBlob, mysql.TypeMediumBlob, mysql.TypeLongBlob:
		return javaClob
	}
	return javaVarchar
}

// Plain is the type of NULL and of ordinary values.
func (j *JavaType) Plain() int32 { return j.plain }

// Varies tells whether the type depends on the value.
func (j *JavaType) Varies() bool { return j.plain != j.large }

// Of is the type of one value.
func (j *JavaType) Of(v *model.Value) int32 {
	if v.Kind == model.KindUint && v.N > j.limit {
		return j.large
	}
	return j.plain
}

// CanalEventType is the word by which canal and canal-json announce a schema change.
func CanalEventType(action timodel.ActionType) string {
	switch action {
	case timodel.ActionCreateTable:
		return "CREATE"
	case timodel.ActionRenameTable, timodel.ActionRenameTables:
		return "RENAME"
	case timodel.ActionAddIndex, timodel.ActionAddPrimaryKey, timodel.ActionAddForeignKey:
		return "CINDEX"
	case timodel.ActionDropIndex, timodel.ActionDropPrimaryKey, timodel.ActionDropForeignKey:
		return "DINDEX"
	case timodel.ActionAddColumn, timodel.ActionAddColumns, timodel.ActionDropColumn, timodel.ActionDropColumns,
		timodel.ActionModifyColumn, timodel.ActionSetDefaultValue, timodel.ActionRebaseAutoID,
		timodel.ActionModifyTableComment, timodel.ActionRenameIndex, timodel.ActionModifyTableCharsetAndCollate,
		timodel.ActionAlterIndexVisibility, timodel.ActionAddTablePartition, timodel.ActionDropTablePartition,
		timodel.ActionTruncateTablePartition, timodel.ActionReorganizePartition,
		timodel.ActionAlterTablePartitioning, timodel.ActionRemovePartitioning, timodel.ActionMultiSchemaChange:
		return "ALTER"
	case timodel.ActionDropTable:
		return "ERASE"
	case timodel.ActionTruncateTable:
		return "TRUNCATE"
	}
	return "QUERY"
}

// BaseType is the bare name of a type in short or full form: "int" of
// "int(11) unsigned".
func BaseType(name string) string {
	if i := strings.IndexAny(name, "( "); i >= 0 {
		return name[:i]
	}
	return name
}

// isUnsigned looks behind the parentheses, whose content may be anything.
func isUnsigned(name string) bool {
	return strings.Contains(name[strings.LastIndexByte(name, ')')+1:], " unsigned")
}

// IsBinaryName tells the names of types that hold bytes instead of text.
func IsBinaryName(base string) bool {
	switch base {
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		return true
	}
	return false
}

// ParseCanalValue turns a column's text in canal and canal-json into what a
// Cell holds. The type's name may be short or full.
func ParseCanalValue(typeName, text string) (any, error) {
	base := BaseType(typeName)
	if IsBinaryName(base) {
		return fromLatin1(text)
	}
	v, err := ParseText(base, isUnsigned(typeName), text)
	if err != nil {
		return nil, errors.ErrDecodeFailed.Wrap(err, typeName+" value")
	}
	return v, nil
}

// ParseText turns the text of a value into what a Cell holds, by the bare name
// of its type. Types other than numbers stay text.
func ParseText(base string, unsigned bool, text string) (any, error) {
	switch base {
	case "tinyint", "smallint", "mediumint", "int", "bigint":
		if unsigned {
			return strconv.ParseUint(text, 10, 64)
		}
		return strconv.ParseInt(text, 10, 64)
	case "year":
		return strconv.ParseInt(text, 10, 64)
	case "bit", "enum", "set":
		return strconv.ParseUint(text, 10, 64)
	case "float":
		f, err := strconv.ParseFloat(text, 32)
		return float32(f), err
	case "double":
		return strconv.ParseFloat(text, 64)
	}
	return text, nil
}

func fromLatin1(text string) ([]byte, error) {
	b := make([]byte, 0, len(text))
	for _, r := range text {
		if r > math.MaxUint8 {
			return nil, errors.ErrDecodeFailed.New("a character of binary data is beyond ISO-8859-1")
		}
		b = append(b, byte(r))
	}
	return b, nil
}
