package maxwell

import (
	"context"
	"strconv"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
)

// kindDDL is member t of the key of a schema change.
const kindDDL = 2

// DDL implements codec.Encoder.
func (e *Encoder) DDL(_ context.Context, _ string, ev *model.DDLEvent) (*codec.Message, error) {
	return &codec.Message{Key: ddlKey(ev), Value: ddlValue(ev)}, nil
}

func ddlKey(ev *model.DDLEvent) []byte {
	b := strconv.AppendUint([]byte(`{"ts":`), ev.CommitTs, 10)
	if ev.Schema != "" {
		b = codec.AppendJSONString(append(b, `,"scm":`...), ev.Schema)
	}
	if ev.Table != "" {
		b = codec.AppendJSONString(append(b, `,"tbl":`...), ev.Table)
	}
	return append(strconv.AppendInt(append(b, `,"t":`...), kindDDL, 10), '}')
}

func ddlValue(ev *model.DDLEvent) []byte {
	b := codec.AppendJSONString([]byte(`{"type":`), ddlType(ev.Type))
	b = codec.AppendJSONString(append(b, `,"database":`...), ev.Schema)
	b = codec.AppendJSONString(append(b, `,"table":`...), ev.Table)
	oldSchema, oldTable := ev.OldSchema, ev.OldTable
	if oldTable == "" && ev.PreInfo != nil {
		oldSchema, oldTable = ev.PreInfo.Schema, ev.PreInfo.Name
	}
	b = appendTable(append(b, `,"old":`...), oldSchema, oldTable, ev.PreInfo)
	schema, table := "", ""
	if ev.Info != nil {
		schema, table = ev.Info.Schema, ev.Info.Name
	}
	b = appendTable(append(b, `,"def":`...), schema, table, ev.Info)
	b = strconv.AppendUint(append(b, `,"ts":`...), ev.CommitTs, 10)
	b = codec.AppendJSONString(append(b, `,"sql":`...), ev.Query)
	return append(b, '}')
}

// appendTable appends a table's definition; without a table its names are empty
// and its columns null.
func appendTable(dst []byte, schema, name string, t *model.Table) []byte {
	dst = codec.AppendJSONString(append(dst, `{"database":`...), schema)
	dst = codec.AppendJSONString(append(dst, `,"table":`...), name)
	dst = append(dst, `,"columns":`...)
	if t == nil {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, '[')
		for i, c := range t.Info.Cols() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = codec.AppendJSONString(append(dst, `{"type":`...), columnType(c.GetType()))
			dst = append(codec.AppendJSONString(append(dst, `,"name":`...), c.Name.O), '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, `,"primary-key":null}`...)
}

// columnType is the word for a type. What the protocol does not know, such as
// the columns of a view, is a string.
func columnType(tp byte) string {
	switch tp {
	case mysql.TypeTiny, mysql.TypeShort, mysql.TypeInt24, mysql.TypeLong:
		return "int"
	case mysql.TypeLonglong:
		return "bigint"
	case mysql.TypeDate, mysql.TypeNewDate:
		return "date"
	case mysql.TypeDatetime, mysql.TypeTimestamp:
		return "datetime"
	case mysql.TypeDuration:
		return "time"
	case mysql.TypeYear:
		return "year"
	case mysql.TypeEnum:
		return "enum"
	case mysql.TypeSet:
		return "set"
	case mysql.TypeBit:
		return "bit"
	case mysql.TypeJSON:
		return "json"
	case mysql.TypeFloat, mysql.TypeDouble:
		return "float"
	case mysql.TypeNewDecimal:
		return "decimal"
	}
	return "string"
}

// ddlType is the word for a schema change. Actions that were not known when the
// protocol was made have TiDB's name for them.
func ddlType(action timodel.ActionType) string {
	switch action {
	case timodel.ActionCreateSchema:
		return "database-create"
	case timodel.ActionDropSchema:
		return "database-drop"
	case timodel.ActionModifySchemaCharsetAndCollate:
		return "database-alter"
	case timodel.ActionCreateTable:
		return "table-create"
	case timodel.ActionDropTable:
		return "table-drop"
	case timodel.ActionModifyTableCharsetAndCollate, timodel.ActionTruncateTablePartition,
		timodel.ActionLockTable, timodel.ActionUnlockTable, timodel.ActionRepairTable,
		timodel.ActionDropPrimaryKey, timodel.ActionAddColumns, timodel.ActionDropColumns,
		timodel.ActionAlterIndexVisibility, timodel.ActionExchangeTablePartition:
		return "table-alter"
	}
	if action >= timodel.ActionAddColumn && action <= timodel.ActionDropTablePartition {
		return "table-alter"
	}
	return action.String()
}
