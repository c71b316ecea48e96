package mounter

import (
	"errors"
	"strconv"
)

var errBadDecimal = errors.New("bad decimal")

const (
	wordDigits = 9  // decimal digits in 4 bytes
	maxDigits  = 81 // more than any declared precision
)

// wordBytes is the number of bytes that so many digits, less than a full
// word, are stored in.
func wordBytes(digits int) int { return (digits + 1) / 2 }

// decimalSize is the length of the decimal that b begins with, 0 when it is
// broken: precision, scale, then the digits in binary.
func decimalSize(b []byte) int {
	if len(b) < 3 {
		return 0
	}
	precision, scale := int(b[0]), int(b[1])
	if precision > maxDigits || scale > precision {
		return 0
	}
	size := 2 + digitsSize(precision-scale) + digitsSize(scale)
	if size > len(b) {
		return 0
	}
	return size
}

func digitsSize(digits int) int {
	return digits/wordDigits*4 + wordBytes(digits%wordDigits)
}

// appendDecimal shows a decimal with exactly the stored number of digits
// after the point.
func appendDecimal(dst, b []byte) ([]byte, error) {
	size := decimalSize(b)
	if size <= 2 {
		return dst, errBadDecimal
	}
	r := decimalReader{b: b[2:size], first: true}
	if b[2]&0x80 == 0 {
		r.mask = 0xff
	}
	scale := int(b[1])
	start := len(dst)
	if r.mask != 0 {
		dst = append(dst, '-')
	}
	digits := len(dst)
	intDigits := int(b[0]) - scale
	dst, err := r.appendInt(dst, intDigits)
	if err != nil {
		return dst[:start], err
	}
	if len(dst) == digits {
		dst = append(dst, '0')
	}
	if scale > 0 {
		dst = append(dst, '.')
		if dst, err = r.appendFrac(dst, scale); err != nil {
			return dst[:start], err
		}
	}
	return dst, nil
}

// decimalReader reads the words of a decimal. Negative numbers have all bits
// turned over, and the first bit is turned over in any case.
type decimalReader struct {
	b     []byte
	mask  byte
	first bool
}

func (r *decimalReader) word(size int) int {
	var x uint32
	for i := range size {
		c := r.b[i] ^ r.mask
		if r.first {
			c ^= 0x80
			r.first = false
		}
		x = x<<8 | uint32(c)
	}
	r.b = r.b[size:]
	return int(x)
}

// appendInt shows the digits before the point without leading zeros: the
// short word comes first.
func (r *decimalReader) appendInt(dst []byte, digits int) ([]byte, error) {
	start := len(dst)
	for n := digits % wordDigits; digits > 0; digits, n = digits-n, wordDigits {
		if n == 0 {
			n = wordDigits
		}
		x, size := 0, 4
		if n < wordDigits {
			size = wordBytes(n)
		}
		if x = r.word(size); x >= pow10(n) {
			return dst, errBadDecimal
		}
		if len(dst) > start {
			dst = appendPadded(dst, x, n)
		} else if x > 0 {
			dst = strconv.AppendInt(dst, int64(x), 10)
		}
	}
	return dst, nil
}

// appendFrac shows the digits after the point: the short word comes last.
func (r *decimalReader) appendFrac(dst []byte, digits int) ([]byte, error) {
	for digits > 0 {
		n, size := min(digits, wordDigits), 4
		if n < wordDigits {
			size = wordBytes(n)
		}
		x := r.word(size)
		if x >= pow10(n) {
			return dst, errBadDecimal
		}
		dst = appendPadded(dst, x, n)
		digits -= n
	}
	return dst, nil
}
