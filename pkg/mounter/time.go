package mounter

import (
	"errors"
	"strconv"
	"time"
)

var errBadTimestamp = errors.New("timestamp is not a point in time")

// civil is a date and time of day as it is stored: not necessarily a real one.
type civil struct {
	year, month, day, hour, minute, second, micro int
}

// unpackTime takes apart the stored form of date, datetime and timestamp.
func unpackTime(n uint64) civil {
	ymd, hms := n>>41, n>>24&(1<<17-1)
	return civil{
		year: int(ymd >> 5 / 13), month: int(ymd >> 5 % 13), day: int(ymd & 31),
		hour: int(hms >> 12), minute: int(hms >> 6 & 63), second: int(hms & 63),
		micro: int(n & (1<<24 - 1)),
	}
}

// in converts from UTC to a time zone. The zero timestamp is the same in
// every zone.
func (c civil) in(loc *time.Location) (civil, error) {
	if c == (civil{}) || loc == time.UTC {
		return c, nil
	}
	t := time.Date(c.year, time.Month(c.month), c.day, c.hour, c.minute, c.second, c.micro*1000, time.UTC)
	if year, month, day := t.Date(); year != c.year || int(month) != c.month || day != c.day ||
		t.Hour() != c.hour || t.Minute() != c.minute || t.Second() != c.second {
		return c, errBadTimestamp
	}
	t = t.In(loc)
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	return civil{year, int(month), day, hour, minute, second, c.micro}, nil
}

func appendDate(b []byte, c civil) []byte {
	b = appendPadded(b, c.year, 4)
	b = append(b, '-')
	b = appendPadded(b, c.month, 2)
	b = append(b, '-')
	return appendPadded(b, c.day, 2)
}

func appendDatetime(b []byte, c civil, fsp int) []byte {
	b = append(appendDate(b, c), ' ')
	return appendClock(b, c.hour, c.minute, c.second, c.micro, fsp)
}

func appendClock(b []byte, hour, minute, second, micro, fsp int) []byte {
	b = appendPadded(b, hour, 2)
	b = append(b, ':')
	b = appendPadded(b, minute, 2)
	b = append(b, ':')
	b = appendPadded(b, second, 2)
	if fsp == 0 {
		return b
	}
	b = append(b, '.')
	at := len(b)
	b = appendPadded(b, micro, 6)
	return b[:at+fsp]
}

// appendDuration shows a time value of so many nanoseconds.
func appendDuration(b []byte, nanos int64, fsp int) []byte {
	abs := uint64(nanos)
	if nanos < 0 {
		b = append(b, '-')
		abs = -abs
	}
	seconds := abs / uint64(time.Second)
	return appendClock(b, int(seconds/3600), int(seconds/60%60), int(seconds%60),
		int(abs%uint64(time.Second)/uint64(time.Microsecond)), fsp)
}

// appendPadded shows a number, not negative, with at least width digits.
func appendPadded(b []byte, n, width int) []byte {
	if width == 2 && n < 100 {
		return append(b, byte('0'+n/10), byte('0'+n%10))
	}
	for limit := pow10(width - 1); width > 1 && n < limit; limit /= 10 {
		b = append(b, '0')
		width--
	}
	return strconv.AppendInt(b, int64(n), 10)
}

func pow10(n int) int {
	p := 1
	for ; n > 0; n-- {
		p *= 10
	}
	return p
}
