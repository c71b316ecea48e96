package codec

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/tidemark/tidemark/pkg/errors"
)

// Members calls visit for each member of a JSON object, in order. The value is a
// window into the object. An error is visit's, or ErrDecodeFailed when there is
// no object.
func Members(object []byte, visit func(name string, value json.RawMessage) error) error {
	b := bytes.TrimLeft(object, " \t\r\n")
	if len(b) == 0 || b[0] != '{' || !json.Valid(b) {
		return errors.ErrDecodeFailed.New("not a JSON object")
	}
	// From here on the syntax is known to be right.
	for i := skipBlank(b, 1); b[i] != '}'; {
		end := skipString(b, i)
		name, err := JSONString(b[i:end])
		if err != nil {
			return err
		}
		i = skipBlank(b, skipBlank(b, end)+1) // over the colon
		end = skipValue(b, i)
		if err := visit(name, json.RawMessage(b[i:end:end])); err != nil {
			return err
		}
		if i = skipBlank(b, end); b[i] == ',' {
			i = skipBlank(b, i+1)
		}
	}
	return nil
}

// JSONString is the text of a JSON string. Anything else is ErrDecodeFailed.
func JSONString(raw []byte) (string, error) {
	if n := len(raw); n >= 2 && raw[0] == '"' && raw[n-1] == '"' {
		if text := raw[1 : n-1]; bytes.IndexByte(text, '\\') < 0 && utf8.Valid(text) {
			return string(text), nil
		}
	} else {
		return "", errors.ErrDecodeFailed.New("not a JSON string")
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", errors.ErrDecodeFailed.Wrap(err, "JSON string")
	}
	return s, nil
}

func skipBlank(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n' {
		i++
	}
	return i
}

// skipString returns where the string that begins at i ends.
func skipString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// skipValue returns where the value that begins at i ends. Inside an object at
// least a brace follows.
func skipValue(b []byte, i int) int {
	for depth := 0; ; {
		switch b[i] {
		case '"':
			if i = skipString(b, i); depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of a number or word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
		i++
	}
}
