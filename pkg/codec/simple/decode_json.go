package simple

import (
	"encoding/base64"
	"encoding/json"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/errors"
)

// jsonMessage is the JSON form of a message.
type jsonMessage struct {
	Type               string                     `json:"type"`
	Database           string                     `json:"database"`
	Table              string                     `json:"table"`
	SQL                string                     `json:"sql"`
	CommitTs           uint64                     `json:"commitTs"`
	SchemaVersion      uint64                     `json:"schemaVersion"`
	ClaimCheckLocation string                     `json:"claimCheckLocation"`
	HandleKeyOnly      bool                       `json:"handleKeyOnly"`
	Checksum           *codec.Checksum            `json:"checksum"`
	Data               map[string]json.RawMessage `json:"data"`
	Old                map[string]json.RawMessage `json:"old"`
	TableSchema        *tableSchema               `json:"tableSchema"`
	PreTableSchema     *tableSchema               `json:"preTableSchema"`
}

func parseJSON(value []byte) (*message, error) {
	var in jsonMessage
	if err := json.Unmarshal(value, &in); err != nil {
		return nil, errors.ErrDecodeFailed.Wrap(err, "message of the simple protocol")
	}
	m := &message{
		typeName: in.Type, database: in.Database, table: in.Table, sql: in.SQL,
		commitTs: in.CommitTs, schemaVersion: in.SchemaVersion,
		claimCheckLocation: in.ClaimCheckLocation, handleKeyOnly: in.HandleKeyOnly, checksum: in.Checksum,
		tableSchema: in.TableSchema, preTableSchema: in.PreTableSchema,
	}
	var err error
	if m.data, err = parseImage(in.Data); err != nil {
		return nil, err
	}
	m.old, err = parseImage(in.Old)
	return m, err
}

// parseImage makes strings of the values, which they all are but timestamps.
func parseImage(in map[string]json.RawMessage) (map[string]any, error) {
	if in == nil {
		return nil, nil
	}
	out := make(map[string]any, len(in))
	for name, raw := range in {
		var text *string
		var err error
		if len(raw) > 0 && raw[0] == '{' {
			var timestamp struct{ Value string }
			err = json.Unmarshal(raw, &timestamp)
			text = &timestamp.Value
		} else {
			err = json.Unmarshal(raw, &text)
		}
		if err != nil {
			return nil, errors.ErrDecodeFailed.Wrap(err, "column "+name)
		}
		out[name] = nil
		if text != nil {
			out[name] = *text
		}
	}
	return out, nil
}

// convert makes what a Cell holds of a value of either format.
func convert(d *dataType, v any) (any, error) {
	switch v := v.(type) {
	case string:
		if codec.IsBinaryName(d.MySQLType) {
			return base64.StdEncoding.DecodeString(v)
		}
		return codec.ParseText(d.MySQLType, d.Unsigned, v)
	case int64:
		switch {
		case d.MySQLType == "year":
		case d.Unsigned, d.MySQLType == "bit", d.MySQLType == "enum", d.MySQLType == "set":
			return uint64(v), nil
		}
	}
	return v, nil
}
