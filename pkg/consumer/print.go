package consumer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// Print writes events as lines of JSON, in the order in which they would be
// applied.
type Print struct {
	out *json.Encoder
}

var _ Target = (*Print)(nil)

// NewPrint makes a target that writes to out.
func NewPrint(out io.Writer) *Print {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return &Print{out: e}
}

// line is one printed event.
type line struct {
	Kind     string         `json:"kind"`
	CommitTs uint64         `json:"commit_ts,omitempty"`
	Schema   string         `json:"schema,omitempty"`
	Table    string         `json:"table,omitempty"`
	Query    string         `json:"query,omitempty"`
	Old      map[string]any `json:"old,omitempty"`
	New      map[string]any `json:"new,omitempty"`
}

// Rows implements Target.
func (p *Print) Rows(_ context.Context, rows []codec.Event) error {
	for i := range rows {
		ev := &rows[i]
		l := line{CommitTs: ev.CommitTs, Schema: ev.Schema, Table: ev.Table, Old: printable(ev.Row.Old), New: printable(ev.Row.New)}
		switch ev.Row.Kind {
		case model.RowInsert:
			l.Kind = "insert"
		case model.RowDelete:
			l.Kind = "delete"
		default:
			l.Kind = "update"
		}
		if err := p.out.Encode(&l); err != nil {
			return err
		}
	}
	return nil
}

// DDL implements Target.
func (p *Print) DDL(_ context.Context, ev codec.Event) error {
	return p.out.Encode(&line{Kind: "ddl", CommitTs: ev.CommitTs, Schema: ev.Schema, Table: ev.Table, Query: ev.Query})
}

// Resolved implements Target.
func (p *Print) Resolved(_ context.Context, ts uint64) error {
	return p.out.Encode(&line{Kind: "resolved", CommitTs: ts})
}

// printable names the cells; bytes are shown in base64, with a mark.
func printable(cells []codec.Cell) map[string]any {
	if len(cells) == 0 {
		return nil
	}
	out := make(map[string]any, len(cells))
	for _, c := range cells {
		if b, ok := c.Value.([]byte); ok {
			out[c.Name] = "base64:" + base64.StdEncoding.EncodeToString(b)
		} else {
			out[c.Name] = c.Value
		}
	}
	return out
}
