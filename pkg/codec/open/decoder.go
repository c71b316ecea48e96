package open

import (
	"context"
	stdbase64 "encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strconv"

	"github.com/pingcap/tidb/pkg/parser/charset"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/parser/types"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// Decoder implements codec.Decoder.
type Decoder struct {
	compression string
}

var _ codec.Decoder = (*Decoder)(nil)

// NewDecoder makes a decoder for what an Encoder with these options writes.
func NewDecoder(o codec.Options) *Decoder {
	return &Decoder{compression: o.LargeMessage.Compression}
}

type messageKey struct {
	Ts            uint64 `json:"ts"`
	Schema        string `json:"scm"`
	Table         string `json:"tbl"`
	Kind          int    `json:"t"`
	OnlyHandleKey bool   `json:"ohk"`
	ClaimCheck    string `json:"ccl"`
}

// Decode implements codec.Decoder.
func (d *Decoder) Decode(_ context.Context, key, value []byte) ([]codec.Event, error) {
	if len(key) < lengthSize || binary.BigEndian.Uint64(key) != version {
		return nil, errors.ErrDecodeFailed.New("an open-protocol key begins with version 1")
	}
	var events []codec.Event
	for rest := key[lengthSize:]; len(rest) > 0; {
		var name, content []byte
		var ok bool
		if name, rest, ok = cut(rest); !ok {
			return nil, errors.ErrDecodeFailed.New("open-protocol key is cut short")
		}
		if content, value, ok = cut(value); !ok {
			return nil, errors.ErrDecodeFailed.New("open-protocol value is cut short")
		}
		ev, err := d.event(name, content)
		if err != nil {
			return nil, err
		}
		events = append(events, ev)
	}
	if len(value) > 0 {
		return nil, errors.ErrDecodeFailed.New("open-protocol message has more values than keys")
	}
	return events, nil
}

// cut takes one length and what it counts off b.
func cut(b []byte) (part, rest []byte, ok bool) {
	if len(b) < lengthSize {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint64(b)
	b = b[lengthSize:]
	if n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

func (d *Decoder) event(key, value []byte) (codec.Event, error) {
	var k messageKey
	if err := json.Unmarshal(key, &k); err != nil {
		return codec.Event{}, errors.ErrDecodeFailed.Wrap(err, "open-protocol key")
	}
	ev := codec.Event{CommitTs: k.Ts, Schema: k.Schema, Table: k.Table}
	if k.Kind == kindWatermark {
		ev.Kind = codec.EventWatermark
		return ev, nil
	}
	value, err := codec.Decompress(d.compression, value)
	if err != nil {
		return ev, err
	}
	switch k.Kind {
	case kindDDL:
		ev.Kind = codec.EventDDL
		var ddl struct {
			Query string `json:"q"`
			Type  int    `json:"t"`
		}
		if err := json.Unmarshal(value, &ddl); err != nil {
			return ev, errors.ErrDecodeFailed.Wrap(err, "open-protocol schema change")
		}
		ev.Query, ev.DDLType = ddl.Query, strconv.Itoa(ddl.Type)
	case kindRow:
		ev.Kind = codec.EventRow
		if ev.Row, err = decodeRow(value); err != nil {
			return ev, err
		}
		ev.Row.HandleKeyOnly, ev.Row.ClaimCheck = k.OnlyHandleKey, k.ClaimCheck
	default:
		return ev, errors.ErrDecodeFailed.New("open-protocol event of kind " + strconv.Itoa(k.Kind))
	}
	return ev, nil
}

// decodeRow reads a row. An update whose old image is not shown looks like an
// insert.
func decodeRow(value []byte) (*codec.DecodedRow, error) {
	var images struct {
		Update   json.RawMessage `json:"u"`
		Previous json.RawMessage `json:"p"`
		Delete   json.RawMessage `json:"d"`
	}
	if err := json.Unmarshal(value, &images); err != nil {
		return nil, errors.ErrDecodeFailed.Wrap(err, "open-protocol row")
	}
	row := &codec.DecodedRow{Kind: model.RowInsert}
	var err error
	switch {
	case images.Delete != nil:
		row.Kind = model.RowDelete
		row.Old, err = decodeImage(images.Delete)
		return row, err
	case images.Update == nil:
		return nil, errors.ErrDecodeFailed.New("open-protocol row without columns")
	case images.Previous != nil:
		row.Kind = model.RowUpdate
		if row.Old, err = decodeImage(images.Previous); err != nil {
			return nil, err
		}
	}
	row.New, err = decodeImage(images.Update)
	return row, err
}

func decodeImage(image []byte) ([]codec.Cell, error) {
	var cells []codec.Cell
	err := codec.Members(image, func(name string, raw json.RawMessage) error {
		cell, err := decodeColumn(raw)
		if err != nil {
			return errors.ErrDecodeFailed.Wrap(err, "open-protocol column "+name)
		}
		cell.Name = name
		cells = append(cells, cell)
		return nil
	})
	return cells, err
}

func decodeColumn(column []byte) (codec.Cell, error) {
	var tp, flag uint64
	var cell codec.Cell
	var value json.RawMessage
	err := codec.Members(column, func(name string, raw json.RawMessage) (err error) {
		switch name {
		case "t":
			tp, err = strconv.ParseUint(string(raw), 10, 8)
		case "h":
			cell.Key = string(raw) == "true"
		case "f":
			flag, err = strconv.ParseUint(string(raw), 10, 32)
		case "v":
			value = raw
		}
		return err
	})
	if err != nil {
		return cell, err
	}
	cell.Type = typeName(byte(tp), model.ColumnFlag(flag))
	if len(value) > 0 && string(value) != "null" {
		cell.Value, err = decodeValue(byte(tp), model.ColumnFlag(flag), value)
	}
	return cell, err
}

func typeName(tp byte, flag model.ColumnFlag) string {
	cs := charset.CharsetUTF8MB4
	if flag&model.FlagBinary != 0 {
		cs = charset.CharsetBin
	}
	name := types.TypeToStr(tp, cs)
	if flag&model.FlagUnsigned != 0 && tp != mysql.TypeBit && tp != mysql.TypeYear {
		name += " unsigned"
	}
	return name
}

// decodeValue turns a value that is not null into what a Cell holds.
func decodeValue(tp byte, flag model.ColumnFlag, raw json.RawMessage) (any, error) {
	if isNumber(tp) {
		return codec.ParseText(types.TypeStr(tp), flag&model.FlagUnsigned != 0, string(raw))
	}
	text, err := codec.JSONString(raw)
	if err != nil {
		return nil, err
	}
	binary := flag&model.FlagBinary != 0
	switch {
	case codec.IsBlob(tp):
		b, err := stdbase64.StdEncoding.DecodeString(text)
		if err != nil || binary {
			return b, err
		}
		return string(b), nil
	case binary && codec.IsChar(tp):
		s, err := strconv.Unquote(`"` + text + `"`)
		return []byte(s), err
	}
	return text, nil
}

// isNumber tells the types whose values are JSON numbers.
func isNumber(tp byte) bool {
	switch tp {
	case mysql.TypeYear, mysql.TypeBit, mysql.TypeEnum, mysql.TypeSet, mysql.TypeFloat, mysql.TypeDouble:
		return true
	}
	return mysql.IsIntegerType(tp)
}
