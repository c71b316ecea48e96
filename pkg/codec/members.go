package codec

import (
	"bytes"
	"encoding/json"

	"github.com/tidemark/tidemark/pkg/errors"
)

// Members calls visit for each member of a JSON object, in order. An error is
// visit's, or ErrDecodeFailed when there is no object.
func Members(object []byte, visit func(name string, value json.RawMessage) error) error {
	d := json.NewDecoder(bytes.NewReader(object))
	start, err := d.Token()
	if err != nil {
		return errors.ErrDecodeFailed.Wrap(err, "JSON object")
	}
	if start != json.Delim('{') {
		return errors.ErrDecodeFailed.New("not a JSON object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return errors.ErrDecodeFailed.Wrap(err, "JSON object")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return errors.ErrDecodeFailed.Wrap(err, "JSON object")
		}
		// In an object the decoder accepts nothing but strings as names.
		text, _ := name.(string)
		if err := visit(text, value); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return errors.ErrDecodeFailed.Wrap(err, "JSON object")
	}
	return nil
}
