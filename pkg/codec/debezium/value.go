package debezium

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// form is how a column's values are written.
type form uint8

const (
	formNumber    form = iota // integers and years
	formBool                  // bit(1)
	formBits                  // longer bit columns
	formFloat                 // float
	formDouble                // double
	formDecimal               // decimal, as a double
	formDate                  // days since 1970
	formMillis                // datetime with up to 3 digits
	formMicros                // datetime with more
	formTimestamp             // timestamp
	formTime                  // time, in microseconds
	formText                  // texts and JSON
	formBinary                // base64
	formEnum
	formSet
	formVector
)

// column is what encoding needs to know of a column.
type column struct {
	name     []byte // with quotes and colon
	form     form
	key      bool
	nullable bool
	fsp      int
	bits     int // length of a bit column
	elems    []string
	null     []byte // what NULL becomes: null, or the column's default
}

// appendValue appends a value as JSON. loc is the zone of timestamp texts.
func (c *column) appendValue(b []byte, v *model.Value, loc *time.Location) []byte {
	if v.IsNull() {
		return append(b, c.null...)
	}
	switch c.form {
	case formNumber:
		return strconv.AppendInt(b, int64(v.N), 10)
	case formBool:
		return strconv.AppendBool(b, v.N != 0)
	case formBits:
		var number [8]byte
		binary.LittleEndian.PutUint64(number[:], v.N)
		return codec.AppendJSONBase64(b, number[:(c.bits+7)/8])
	case formFloat:
		return codec.AppendJSONFloat(b, math.Float64frombits(v.N), 32)
	case formDouble:
		return codec.AppendJSONFloat(b, math.Float64frombits(v.N), 64)
	case formDecimal:
		f, err := strconv.ParseFloat(string(v.B), 64)
		if err != nil { // the text is a number, so it can only be out of range
			f = math.Copysign(math.MaxFloat64, f)
		}
		return codec.AppendJSONFloat(b, f, 64)
	case formDate, formMillis, formMicros:
		return c.appendTime(b, v.B)
	case formTimestamp:
		return c.appendTimestamp(b, v.B, loc)
	case formTime:
		return strconv.AppendInt(b, microsOf(v.B), 10)
	case formBinary:
		return codec.AppendJSONBase64(b, v.B)
	case formEnum:
		name, _ := codec.EnumName(c.elems, v.N) // the invalid value is ""
		return codec.AppendJSONString(b, name)
	case formSet:
		return codec.AppendJSONString(b, codec.AppendSetNames(nil, c.elems, v.N))
	case formVector:
		return append(codec.AppendVector(append(b, '"'), v.B), '"')
	}
	return codec.AppendJSONString(b, v.B)
}

// appendTime is for dates and datetimes, which are taken as UTC. Those that no
// calendar has are 0, or null where that is allowed.
func (c *column) appendTime(b, text []byte) []byte {
	t, ok := parseTime(text, time.UTC)
	if ok && c.form == formDate {
		// Debezium takes such years for ones of two digits.
		switch {
		case t.Year() < 70:
			t = t.AddDate(2000, 0, 0)
		case t.Year() < 100:
			t = t.AddDate(1900, 0, 0)
		}
	}
	switch {
	case !ok && c.nullable:
		return append(b, "null"...)
	case !ok:
		return append(b, '0')
	case c.form == formDate:
		return strconv.AppendInt(b, t.Unix()/secondsPerDay, 10)
	case c.form == formMillis:
		return strconv.AppendInt(b, t.UnixMilli(), 10)
	}
	return strconv.AppendInt(b, t.UnixMicro(), 10)
}

const secondsPerDay = 24 * 60 * 60

// zonedLayout is the layout of timestamps, to be cut to the column's digits.
const zonedLayout = "2006-01-02T15:04:05.000000"

func (c *column) appendTimestamp(b, text []byte, loc *time.Location) []byte {
	t, ok := parseTime(text, loc)
	if !ok || t.Unix() < 1 {
		return append(b, `"1970-01-01T00:00:00Z"`...)
	}
	layout := zonedLayout[:len("2006-01-02T15:04:05")]
	if c.fsp > 0 {
		layout = zonedLayout[:len(layout)+1+c.fsp]
	}
	b = t.UTC().AppendFormat(append(b, '"'), layout)
	return append(b, 'Z', '"')
}

// parseTime reads "YYYY-MM-DD[ HH:MM:SS[.f]]", false when there is no such day.
func parseTime(text []byte, loc *time.Location) (time.Time, bool) {
	if len(text) < len("2006-01-02") {
		return time.Time{}, false
	}
	year, month, day := number(text[:4]), number(text[5:7]), number(text[8:10])
	if month < 1 || month > 12 || day < 1 {
		return time.Time{}, false
	}
	var hour, minute, second, nanos int
	if clock := text[10:]; len(clock) >= len(" 15:04:05") {
		hour, minute, second = number(clock[1:3]), number(clock[4:6]), number(clock[7:9])
		nanos = fraction(clock[9:]) * int(time.Microsecond)
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, loc)
	// A day that the month lacks moves into the next month.
	return t, t.Day() == day || loc != time.UTC
}

// microsOf reads "[-]HHH:MM:SS[.f]".
func microsOf(text []byte) int64 {
	sign := int64(1)
	if len(text) > 0 && text[0] == '-' {
		sign, text = -1, text[1:]
	}
	at := 0
	for at < len(text) && text[at] != ':' {
		at++
	}
	if len(text) < at+6 {
		return 0
	}
	seconds := int64(number(text[:at]))*3600 + int64(number(text[at+1:at+3]))*60 + int64(number(text[at+4:at+6]))
	return sign * (seconds*1e6 + int64(fraction(text[at+6:])))
}

// fraction reads ".f" as microseconds.
func fraction(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	digits := text[1:min(len(text), 7)]
	n := number(digits)
	for i := len(digits); i < 6; i++ {
		n *= 10
	}
	return n
}

func number(digits []byte) int {
	n := 0
	for _, c := range digits {
		n = n*10 + int(c-'0')
	}
	return n
}
