package codectest

import (
	"math"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// CellValue is what a decoder should make of a value.
func CellValue(c *model.Column, v *model.Value) any {
	switch v.Kind {
	case model.KindNull:
		return nil
	case model.KindInt:
		return v.Int()
	case model.KindUint:
		return v.N
	case model.KindFloat32:
		return float32(math.Float64frombits(v.N))
	case model.KindFloat64:
		return math.Float64frombits(v.N)
	case model.KindBytes:
		if codec.IsBinary(c.FieldType) {
			return append([]byte{}, v.B...)
		}
	}
	return string(codec.AppendText(nil, v))
}

// Values are the values of a row's columns by name, as a decoder should show
// them. Where keep is not nil, only the columns that it takes are there.
func Values(t *model.Table, row []model.Value, keep func(i int) bool) map[string]any {
	if row == nil {
		return nil
	}
	values := make(map[string]any)
	for i := range row {
		if keep == nil || keep(i) {
			values[t.Columns[i].Name] = CellValue(&t.Columns[i], &row[i])
		}
	}
	return values
}

// CellValues are the values of cells by name.
func CellValues(cells []codec.Cell) map[string]any {
	if cells == nil {
		return nil
	}
	values := make(map[string]any, len(cells))
	for _, c := range cells {
		values[c.Name] = c.Value
	}
	return values
}

// IsKey takes the columns of the handle key.
func IsKey(t *model.Table) func(i int) bool {
	return func(i int) bool { return t.Columns[i].Has(model.FlagHandleKey) }
}

// IsChanged takes the columns that an update changed.
func IsChanged(ev *codec.RowEvent) func(i int) bool {
	return func(i int) bool { return !codec.SameValue(&ev.Row.Old[i], &ev.Row.New[i]) }
}
