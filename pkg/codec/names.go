package codec

import "strings"

// AvroName makes a name that Avro allows: letters, digits and underscores, no
// digit in front. Different names may become one.
func AvroName(name string) string {
	var b strings.Builder
	for i, r := range name {
		digit := r >= '0' && r <= '9'
		if digit && i == 0 {
			b.WriteByte('_')
		}
		if digit || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' {
			b.WriteRune(r)
		} else {
			b.WriteByte('_')
		}
	}
	return b.String()
}
