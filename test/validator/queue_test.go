package validator

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

func row(ts uint64, id, v int) codec.Event {
	return codec.Event{CommitTs: ts, Schema: "d", Table: "t", Row: &codec.DecodedRow{
		Kind: model.RowUpdate, New: []codec.Cell{{Name: "id", Key: true, Value: id}, {Name: "v", Value: v}}}}
}

func mark(ts uint64) codec.Event { return codec.Event{Kind: codec.EventWatermark, CommitTs: ts} }

func TestQueue(t *testing.T) {
	type seen struct {
		partition int32
		ev        codec.Event
	}
	for name, tc := range map[string]struct {
		events []seen
		want   string
	}{
		"in order":           {[]seen{{0, row(1, 1, 1)}, {0, row(2, 1, 2)}, {0, mark(2)}, {0, row(3, 1, 3)}}, ""},
		"other rows":         {[]seen{{0, row(5, 1, 1)}, {0, row(4, 2, 2)}, {1, row(1, 1, 0)}}, ""},
		"repeats":            {[]seen{{0, row(1, 1, 1)}, {0, row(2, 1, 2)}, {0, mark(2)}, {0, row(1, 1, 1)}, {0, row(2, 1, 2)}}, ""},
		"repeat elsewhere":   {[]seen{{0, mark(2)}, {0, row(2, 1, 1)}, {1, row(2, 1, 1)}, {1, mark(2)}}, ""},
		"moved and repeated": {[]seen{{5, row(2, 1, 2)}, {5, row(1, 1, 1)}, {2, row(1, 1, 1)}}, ""},
		"disorder":           {[]seen{{0, row(2, 1, 2)}, {0, row(1, 1, 1)}}, "after its version of 2"},
		"dishonest":          {[]seen{{0, mark(2)}, {0, row(2, 1, 1)}, {1, mark(9)}}, "after the watermark 2"},
		"changed its mind":   {[]seen{{0, row(1, 1, 1)}, {0, row(1, 1, 7)}}, "other content"},
		"other's watermark":  {[]seen{{0, mark(9)}, {1, row(2, 1, 1)}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			q := NewQueue()
			for i := range tc.events {
				q.See(tc.events[i].partition, &tc.events[i].ev)
			}
			_, _, err := q.Result()
			if tc.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.want)
			}
		})
	}
}
