package codec

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/google/uuid"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// TooLarge is the ErrMessageTooLarge of a row whose message has size bytes.
func TooLarge(ev *RowEvent, size, limit int) error {
	return errors.ErrMessageTooLarge.New(ev.Table.Schema+"."+ev.Table.Name, handleKeyText(ev), size, limit)
}

// handleKeyText names the row: "id=7, name=pen".
func handleKeyText(ev *RowEvent) string {
	const longest = 64
	image := Image(ev)
	var parts []string
	for _, i := range ev.Table.HandleKey {
		if i >= len(image) {
			continue
		}
		text := "NULL"
		if !image[i].IsNull() {
			b := AppendText(nil, &image[i])
			text = strings.ToValidUTF8(string(b[:min(len(b), longest)]), "?")
		}
		parts = append(parts, ev.Table.Columns[i].Name+"="+text)
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// Image is the row as it is after the change, for a delete as it was before.
func Image(ev *RowEvent) []model.Value {
	if ev.Row.Kind == model.RowDelete {
		return ev.Row.Old
	}
	return ev.Row.New
}

// HandleKeyOnly tells whether large rows are cut down to their handle key.
func (o *LargeMessageOptions) HandleKeyOnly() bool {
	return o.Option == config.LargeMessageHandleKeyOnly
}

// UsesClaimCheck tells whether large messages go to storage.
func (o *LargeMessageOptions) UsesClaimCheck() bool {
	return o.Option == config.LargeMessageClaimCheck
}

// PutClaimCheck stores a message that is too large for the queue under a new
// name and returns its address. A nil key is stored as null.
func PutClaimCheck(ctx context.Context, o *Options, key, value []byte) (location string, err error) {
	if o.ClaimCheck == nil {
		return "", errors.ErrEncodeFailed.New("claim-check without a storage")
	}
	content := value
	if !o.LargeMessage.RawValue {
		content = ClaimCheckContent(key, value)
	}
	return o.ClaimCheck.Put(ctx, uuid.NewString()+".json", content)
}

// ClaimCheckContent is what a claim-check file holds, unless it holds the bare value.
func ClaimCheckContent(key, value []byte) []byte {
	b := make([]byte, 0, len(`{"key":"","value":""}`)+
		base64.StdEncoding.EncodedLen(len(key))+base64.StdEncoding.EncodedLen(len(value)))
	b = appendBase64(append(b, `{"key":`...), key)
	b = appendBase64(append(b, `,"value":`...), value)
	return append(b, '}')
}

func appendBase64(dst, b []byte) []byte {
	if b == nil {
		return append(dst, "null"...)
	}
	return AppendJSONBase64(dst, b)
}

// ParseClaimCheck reads what ClaimCheckContent wrote.
func ParseClaimCheck(content []byte) (key, value []byte, err error) {
	var m struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
	}
	if err := json.Unmarshal(content, &m); err != nil {
		return nil, nil, errors.ErrDecodeFailed.Wrap(err, "claim-check file")
	}
	return m.Key, m.Value, nil
}
