package expr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/types"

	"github.com/tidemark/tidemark/pkg/model"
)

var errBadText = errors.New("the value's text is not of the column's type")

// set puts a decoded value into a column of the row.
func (c *Condition) set(at int, v *model.Value) error {
	ft := c.fields[at]
	switch v.Kind {
	case model.KindNull:
		c.rows.AppendNull(at)
	case model.KindInt:
		c.rows.AppendInt64(at, v.Int())
	case model.KindUint:
		return c.setUint(at, ft, v.N)
	case model.KindFloat32:
		c.rows.AppendFloat32(at, float32(math.Float64frombits(v.N)))
	case model.KindFloat64:
		c.rows.AppendFloat64(at, math.Float64frombits(v.N))
	case model.KindBytes:
		if ft.GetType() != mysql.TypeJSON {
			c.rows.AppendBytes(at, v.B)
			return nil
		}
		if len(v.B) == 0 {
			return errBadText
		}
		c.rows.AppendJSON(at, types.BinaryJSON{TypeCode: v.B[0], Value: v.B[1:]})
	case model.KindVector:
		b := make([]byte, 0, 4+len(v.B))
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(v.B)/4)), v.B...)
		vec, _, err := types.ZeroCopyDeserializeVectorFloat32(b)
		if err != nil {
			return err
		}
		c.rows.AppendVectorFloat32(at, vec)
	case model.KindText:
		return c.setText(at, ft, v.B)
	default:
		return fmt.Errorf("unknown kind of value %d", v.Kind)
	}
	return nil
}

func (c *Condition) setUint(at int, ft *types.FieldType, n uint64) error {
	switch ft.GetType() {
	case mysql.TypeEnum:
		if n == 0 { // the value of invalid input
			c.rows.AppendEnum(at, types.Enum{})
			return nil
		}
		e, err := types.ParseEnumValue(ft.GetElems(), n)
		if err != nil {
			return err
		}
		c.rows.AppendEnum(at, e)
	case mysql.TypeSet:
		s, err := types.ParseSetValue(ft.GetElems(), n)
		if err != nil {
			return err
		}
		c.rows.AppendSet(at, s)
	case mysql.TypeBit:
		c.rows.AppendBytes(at, types.NewBinaryLiteralFromUint(n, (ft.GetFlen()+7)/8))
	default:
		c.rows.AppendUint64(at, n)
	}
	return nil
}

func (c *Condition) setText(at int, ft *types.FieldType, text []byte) error {
	switch ft.GetType() {
	case mysql.TypeNewDecimal:
		c.decimal = types.MyDecimal{}
		if err := c.decimal.FromString(text); err != nil {
			return err
		}
		c.rows.AppendMyDecimal(at, &c.decimal)
	case mysql.TypeDate, mysql.TypeNewDate, mysql.TypeDatetime, mysql.TypeTimestamp:
		t, ok := parseTime(text, ft)
		if !ok {
			return errBadText
		}
		c.rows.AppendTime(at, t)
	case mysql.TypeDuration:
		d, ok := parseDuration(text)
		if !ok {
			return errBadText
		}
		c.rows.AppendDuration(at, types.Duration{Duration: d, Fsp: fspOf(ft)})
	case mysql.TypeJSON: // a column's default
		j, err := types.ParseBinaryJSONFromString(string(text))
		if err != nil {
			return err
		}
		c.rows.AppendJSON(at, j)
	default:
		return errBadText
	}
	return nil
}

func fspOf(ft *types.FieldType) int { return min(max(ft.GetDecimal(), 0), types.MaxFsp) }

// parseTime reads "YYYY-MM-DD" or "YYYY-MM-DD HH:MM:SS[.ffffff]", the
// mounter's form of dates and times, which may be zero or have zero parts.
func parseTime(b []byte, ft *types.FieldType) (types.Time, bool) {
	var n [7]int
	ok := len(b) >= 10 && digits(b[0:4], &n[0]) && digits(b[5:7], &n[1]) && digits(b[8:10], &n[2])
	if len(b) > 10 {
		ok = ok && len(b) >= 19 && digits(b[11:13], &n[3]) && digits(b[14:16], &n[4]) && digits(b[17:19], &n[5]) &&
			micros(b[19:], &n[6])
	}
	return types.NewTime(types.FromDate(n[0], n[1], n[2], n[3], n[4], n[5], n[6]), ft.GetType(), fspOf(ft)), ok
}

// parseDuration reads "[-]HHH:MM:SS[.ffffff]" with at least two digits of hours.
func parseDuration(b []byte) (time.Duration, bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	hours := 0
	for hours < len(b) && b[hours] != ':' {
		hours++
	}
	var n [4]int
	rest := b[hours:]
	if len(rest) < 6 || !digits(b[:hours], &n[0]) || !digits(rest[1:3], &n[1]) || !digits(rest[4:6], &n[2]) || !micros(rest[6:], &n[3]) {
		return 0, false
	}
	d := time.Duration(n[0])*time.Hour + time.Duration(n[1])*time.Minute +
		time.Duration(n[2])*time.Second + time.Duration(n[3])*time.Microsecond
	if negative {
		d = -d
	}
	return d, true
}

// micros reads an optional fraction of up to six digits.
func micros(b []byte, n *int) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != '.' || len(b) > 7 || !digits(b[1:], n) {
		return false
	}
	for range 7 - len(b) {
		*n *= 10
	}
	return true
}

func digits(b []byte, n *int) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
		*n = *n*10 + int(c-'0')
	}
	return len(b) > 0
}
