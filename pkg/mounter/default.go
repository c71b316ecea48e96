package mounter

import (
	"math"
	"time"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/charset"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/types"

	"github.com/tidemark/tidemark/pkg/model"
)

// absentValue is what a column shows in rows that do not hold it: the default
// it was added with, else NULL, else the zero of its type.
func absentValue(c *column, info *timodel.ColumnInfo, loc *time.Location) model.Value {
	if def := info.GetOriginDefaultValue(); def != nil {
		if v, ok := defaultValue(c, info, def, loc); ok {
			return v
		}
	}
	if !mysql.HasNotNullFlag(info.GetFlag()) {
		return model.Value{}
	}
	return zeroValue(c, info)
}

// defaultValue converts a default from its form in the table's description,
// false when it does not fit the type.
func defaultValue(c *column, info *timodel.ColumnInfo, def any, loc *time.Location) (model.Value, bool) {
	raw := types.NewDatum(def)
	v, err := raw.ConvertTo(types.DefaultStmtNoWarningContext, &info.FieldType)
	if err != nil || v.IsNull() {
		return model.Value{}, false
	}
	switch c.class {
	case classInt:
		return model.Value{Kind: model.KindInt, N: uint64(v.GetInt64())}, true
	case classUint:
		return model.Value{Kind: model.KindUint, N: unsignedOf(&v)}, true
	case classEnum:
		return model.Value{Kind: model.KindUint, N: v.GetMysqlEnum().Value}, true
	case classFloat32, classFloat64:
		var out model.Value
		setFloat(c, math.Float64bits(floatOf(&v)), &out)
		return out, true
	case classDecimal:
		return text(v.GetMysqlDecimal().String()), true
	case classDate:
		return text(string(appendDate(nil, civilOf(v.GetMysqlTime())))), true
	case classDatetime:
		return text(string(appendDatetime(nil, civilOf(v.GetMysqlTime()), c.fsp))), true
	case classTimestamp:
		return timestampDefault(c, info, v.GetMysqlTime(), loc)
	case classDuration:
		return text(string(appendDuration(nil, int64(v.GetMysqlDuration().Duration), c.fsp))), true
	case classBytes:
		return model.Value{Kind: model.KindBytes, B: []byte(v.GetString())}, true
	case classJSON:
		return text(v.GetMysqlJSON().String()), true
	case classVector:
		return model.Value{Kind: model.KindVector, B: v.GetVectorFloat32().SerializeTo(nil)[4:]}, true
	}
	return model.Value{}, false
}

// timestampDefault converts from UTC, except for columns of very old versions
// of TiDB, which wrote the default in the zone of the session.
func timestampDefault(c *column, info *timodel.ColumnInfo, t types.Time, loc *time.Location) (model.Value, bool) {
	at := civilOf(t)
	if info.Version >= timodel.ColumnInfoVersion1 {
		local, err := at.in(loc)
		if err != nil {
			return model.Value{}, false
		}
		at = local
	}
	return text(string(appendDatetime(nil, at, c.fsp))), true
}

func unsignedOf(v *types.Datum) uint64 {
	switch v.Kind() {
	case types.KindMysqlSet:
		return v.GetMysqlSet().Value
	case types.KindBinaryLiteral, types.KindMysqlBit:
		// The literal was made for a bit column, which has at most 64 bits.
		n, _ := v.GetBinaryLiteral().ToInt(types.DefaultStmtNoWarningContext)
		return n
	}
	return v.GetUint64()
}

func floatOf(v *types.Datum) float64 {
	if v.Kind() == types.KindFloat32 {
		return float64(v.GetFloat32())
	}
	return v.GetFloat64()
}

func civilOf(t types.Time) civil {
	return civil{t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Microsecond()}
}

// zeroValue is the zero of a type, as TiDB gives it to NOT NULL columns
// without a default.
func zeroValue(c *column, info *timodel.ColumnInfo) model.Value {
	switch c.class {
	case classInt:
		return model.Value{Kind: model.KindInt}
	case classEnum:
		return model.Value{Kind: model.KindUint, N: 1}
	case classFloat32:
		return model.Value{Kind: model.KindFloat32}
	case classFloat64:
		return model.Value{Kind: model.KindFloat64}
	case classDecimal:
		return text("0")
	case classDate:
		return text(string(appendDate(nil, civil{})))
	case classDatetime, classTimestamp:
		return text(string(appendDatetime(nil, civil{}, c.fsp)))
	case classDuration:
		return text(string(appendDuration(nil, 0, c.fsp)))
	case classBytes:
		var b []byte
		if info.GetType() == mysql.TypeString && info.GetCharset() == charset.CharsetBin && info.GetFlen() > 0 {
			b = make([]byte, info.GetFlen())
		}
		return model.Value{Kind: model.KindBytes, B: b}
	case classJSON:
		return text("null")
	case classVector:
		return model.Value{Kind: model.KindVector}
	}
	return model.Value{Kind: model.KindUint}
}

func text(s string) model.Value { return model.Value{Kind: model.KindText, B: []byte(s)} }
