package codec

// EnumName is the name of an enum's value; false for 0, the invalid value, and
// for numbers beyond the elements.
func EnumName(elems []string, n uint64) (string, bool) {
	if n == 0 || n > uint64(len(elems)) {
		return "", false
	}
	return elems[n-1], true
}

// AppendSetNames appends the names of a set's value, joined by commas. Bits
// beyond the elements are left out.
func AppendSetNames(dst []byte, elems []string, mask uint64) []byte {
	first := true
	for i, e := range elems {
		if mask&(1<<uint(i)) == 0 {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		dst = append(dst, e...)
		first = false
	}
	return dst
}
