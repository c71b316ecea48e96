// Package sinktest makes the input of sinks for tests: tables from SQL text and
// rows in the store's own bytes.
package sinktest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/pingcap/tidb/pkg/kv"
	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/charset"
	timysql "github.com/pingcap/tidb/pkg/parser/mysql"
	"github.com/pingcap/tidb/pkg/tablecodec"
	"github.com/pingcap/tidb/pkg/types"
	"github.com/pingcap/tidb/pkg/util/codec"
	"github.com/pingcap/tidb/pkg/util/rowcodec"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
	"github.com/tidemark/tidemark/pkg/schema"
)

// Table makes rows of one table as the store would.
type Table struct {
	Model *model.Table
	DDL   string // for a downstream that is not TiDB

	t    testing.TB
	info *timodel.TableInfo
}

// NewTable reads a CREATE TABLE statement with a qualified name.
func NewTable(t testing.TB, id int64, create string) *Table {
	t.Helper()
	stmt, err := parser.New().ParseOneStmt(create, "", "")
	require.NoError(t, err)
	c := stmt.(*ast.CreateTableStmt)
	info := &timodel.TableInfo{ID: id, Name: c.Table.Name, State: timodel.StatePublic, Charset: "utf8mb4", Collate: "utf8mb4_bin"}
	for i, def := range c.Cols {
		info.Columns = append(info.Columns, columnInfo(i, def))
	}
	for i, def := range c.Cols {
		for _, o := range def.Options {
			keys := []*ast.IndexPartSpecification{{Column: def.Name, Length: types.UnspecifiedLength}}
			switch o.Tp {
			case ast.ColumnOptionPrimaryKey:
				addKey(info, true, keys, o.PrimaryKeyTp != ast.PrimaryKeyTypeNonClustered)
			case ast.ColumnOptionUniqKey:
				addKey(info, false, keys, false)
			case ast.ColumnOptionNotNull:
				info.Columns[i].AddFlag(timysql.NotNullFlag)
			}
		}
	}
	for _, con := range c.Constraints {
		switch con.Tp {
		case ast.ConstraintPrimaryKey:
			addKey(info, true, con.Keys, con.Option == nil || con.Option.PrimaryKeyTp != ast.PrimaryKeyTypeNonClustered)
		case ast.ConstraintUniq, ast.ConstraintUniqKey, ast.ConstraintUniqIndex:
			addKey(info, false, con.Keys, false)
		}
	}
	ddl := strings.NewReplacer(" NONCLUSTERED", "", " CLUSTERED", "").Replace(create)
	return &Table{t: t, info: info, Model: schema.NewTable(1, c.Table.Schema.O, info, 1), DDL: ddl}
}

func columnInfo(i int, def *ast.ColumnDef) *timodel.ColumnInfo {
	ft := def.Tp.Clone()
	switch {
	case types.IsString(ft.GetType()) && ft.GetCharset() == "" || ft.GetType() == timysql.TypeEnum || ft.GetType() == timysql.TypeSet:
		ft.SetCharset(charset.CharsetUTF8MB4)
		if ft.GetCollate() == "" {
			ft.SetCollate(charset.CollationUTF8MB4)
		}
	case ft.GetCharset() == "":
		ft.SetCharset(charset.CharsetBin)
		ft.SetCollate(charset.CollationBin)
	}
	for _, o := range def.Options {
		if o.Tp == ast.ColumnOptionCollate {
			ft.SetCollate(o.StrValue)
		}
	}
	if ft.GetFlen() == types.UnspecifiedLength {
		flen, decimal := timysql.GetDefaultFieldLengthAndDecimal(ft.GetType())
		ft.SetFlen(flen)
		if ft.GetDecimal() == types.UnspecifiedLength {
			ft.SetDecimal(decimal)
		}
	}
	c := &timodel.ColumnInfo{ID: int64(i + 1), Name: def.Name.Name, Offset: i, FieldType: *ft, State: timodel.StatePublic}
	for _, o := range def.Options {
		if o.Tp == ast.ColumnOptionGenerated {
			c.GeneratedExprString, c.GeneratedStored = "x", o.Stored
		}
	}
	return c
}

func addKey(info *timodel.TableInfo, primary bool, keys []*ast.IndexPartSpecification, clustered bool) {
	ix := &timodel.IndexInfo{
		ID: int64(len(info.Indices) + 1), Name: ast.NewCIStr(fmt.Sprintf("k%d", len(info.Indices))),
		Unique: true, Primary: primary, State: timodel.StatePublic,
	}
	for _, k := range keys {
		for i, c := range info.Columns {
			if c.Name.L != k.Column.Name.L {
				continue
			}
			length := k.Length
			if length == 0 {
				length = types.UnspecifiedLength
			}
			ix.Columns = append(ix.Columns, &timodel.IndexColumn{Name: c.Name, Offset: i, Length: length})
			if primary {
				c.AddFlag(timysql.PriKeyFlag | timysql.NotNullFlag)
			}
		}
	}
	if primary && clustered {
		if len(ix.Columns) == 1 && timysql.IsIntegerType(info.Columns[ix.Columns[0].Offset].GetType()) {
			info.PKIsHandle = true
			return
		}
		info.IsCommonHandle, info.CommonHandleVersion = true, 1
	}
	info.Indices = append(info.Indices, ix)
}

// datums converts one value per column; nil is NULL.
func (u *Table) datums(values []any) []types.Datum {
	u.t.Helper()
	require.Len(u.t, values, len(u.info.Columns))
	out := make([]types.Datum, len(values))
	ctx := types.DefaultStmtNoWarningContext.WithFlags(types.DefaultStmtFlags.
		WithIgnoreZeroInDate(true).WithIgnoreInvalidDateErr(true).WithIgnoreZeroDateErr(true))
	for i, v := range values {
		d := types.NewDatum(v)
		if _, exact := v.(types.Enum); v != nil && !exact {
			var err error
			d, err = d.ConvertTo(ctx, &u.info.Columns[i].FieldType)
			require.NoError(u.t, err, "%s: %v", u.info.Columns[i].Name.O, v)
		}
		out[i] = d
	}
	return out
}

// handle is the row's own part of its key: the primary key if it is clustered, else rowID.
func (u *Table) handle(d []types.Datum, rowID int64) kv.Handle {
	switch {
	case u.info.PKIsHandle:
		return kv.IntHandle(d[u.Model.Columns[u.Model.HandleKey[0]].Offset].GetInt64())
	case !u.info.IsCommonHandle:
		return kv.IntHandle(rowID)
	}
	var keys []types.Datum
	for _, ix := range u.info.Indices {
		if !ix.Primary {
			continue
		}
		for _, c := range ix.Columns {
			key := d[c.Offset].Clone()
			tablecodec.TruncateIndexValue(key, c, u.info.Columns[c.Offset])
			keys = append(keys, *key)
		}
	}
	encoded, err := codec.EncodeKey(time.UTC, nil, keys...)
	require.NoError(u.t, err)
	h, err := kv.NewCommonHandle(encoded)
	require.NoError(u.t, err)
	return h
}

func (u *Table) encode(d []types.Datum) []byte {
	var ids []int64
	var values []types.Datum
	for i, c := range u.info.Columns {
		if c.IsGenerated() && !c.GeneratedStored || u.info.PKIsHandle && i == u.Model.Columns[u.Model.HandleKey[0]].Offset {
			continue
		}
		ids, values = append(ids, c.ID), append(values, d[i])
	}
	b, err := tablecodec.EncodeRow(time.UTC, values, ids, nil, nil, nil, &rowcodec.Encoder{Enable: true})
	require.NoError(u.t, err)
	return b
}

// Change makes the change of a row from old to new, each nil or one value per
// column. The clustered key must not change.
func (u *Table) Change(commitTs uint64, rowID int64, old, new []any) model.RawChange {
	u.t.Helper()
	var value, oldValue []byte
	var h kv.Handle
	if old != nil {
		d := u.datums(old)
		oldValue, h = u.encode(d), u.handle(d, rowID)
	}
	if new != nil {
		d := u.datums(new)
		value, h = u.encode(d), u.handle(d, rowID)
	}
	return model.NewRawChange(commitTs-1, commitTs, tablecodec.EncodeRowKeyWithHandle(u.info.ID, h), value, oldValue)
}

// Key is the record key of a row.
func (u *Table) Key(rowID int64, values []any) []byte {
	u.t.Helper()
	return tablecodec.EncodeRowKeyWithHandle(u.info.ID, u.handle(u.datums(values), rowID))
}

// Checksummed appends the checksum that TiDB writes into the value of a row,
// of its second version.
func Checksummed(value, key []byte) []byte {
	value = append([]byte(nil), value...)
	value[1] |= 2
	value = append(value, 2)
	sum := crc32.Update(crc32.ChecksumIEEE(value), crc32.IEEETable, mounter.Handle(key))
	return binary.LittleEndian.AppendUint32(value, sum)
}
