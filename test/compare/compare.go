// Package compare holds two databases against each other, row by row: an
// upstream and a downstream, each at a TSO or as it is.
package compare

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Options says what is compared.
type Options struct {
	// Schemas are the databases to compare.
	Schemas []string
	// Downstream names databases that are called otherwise downstream.
	Downstream map[string]string
	// SnapshotTs is the TSO at which the upstream is read; 0 reads it as it is.
	SnapshotTs uint64
	// DownstreamTs is the TSO at which the downstream is read, if it is TiDB; 0
	// reads it as it is.
	DownstreamTs uint64
	// Ignore lists "schema.table" names that are left out, such as tables
	// that cannot be replicated.
	Ignore []string
	// MaxDiffs bounds how many differences are reported; 0 means 20.
	MaxDiffs int
}

// Result is the outcome of a comparison.
type Result struct {
	Tables int
	Rows   int64
	Diffs  []string
}

// Equal tells whether nothing differed.
func (r *Result) Equal() bool { return len(r.Diffs) == 0 }

// String is a short report.
func (r *Result) String() string {
	s := fmt.Sprintf("%d tables, %d rows compared, %d differences", r.Tables, r.Rows, len(r.Diffs))
	if len(r.Diffs) > 0 {
		s += "\n" + strings.Join(r.Diffs, "\n")
	}
	return s
}

func (r *Result) diff(o *Options, format string, args ...any) {
	limit := o.MaxDiffs
	if limit == 0 {
		limit = 20
	}
	if len(r.Diffs) < limit {
		r.Diffs = append(r.Diffs, fmt.Sprintf(format, args...))
	}
}

// Databases compares all base tables of the schemas. The error means that a
// side could not be read; differences are in the Result.
func Databases(ctx context.Context, up, down *sql.DB, o Options) (*Result, error) {
	uc, err := conn(ctx, up, o.SnapshotTs)
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	defer discard(uc)
	dc, err := conn(ctx, down, o.DownstreamTs)
	if err != nil {
		return nil, fmt.Errorf("downstream: %w", err)
	}
	defer discard(dc)

	res := &Result{}
	for _, schema := range o.Schemas {
		if err := compareSchema(ctx, uc, dc, schema, &o, res); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// conn opens a session in UTC whose reads see the snapshot.
func conn(ctx context.Context, db *sql.DB, ts uint64) (*sql.Conn, error) {
	c, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	stmts := []string{"SET time_zone='+00:00'", "SET NAMES utf8mb4", fmt.Sprintf("SET tidb_snapshot='%d'", ts)}
	if ts == 0 {
		stmts = stmts[:2]
	}
	for _, s := range stmts {
		if _, err := c.ExecContext(ctx, s); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("%s: %w", s, err)
		}
	}
	return c, nil
}

// discard closes a session for good, so that nobody gets it from the pool with
// its snapshot still set.
func discard(c *sql.Conn) {
	_ = c.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.Close()
}

func compareSchema(ctx context.Context, uc, dc *sql.Conn, schema string, o *Options, res *Result) error {
	ut, err := tables(ctx, uc, schema)
	if err != nil {
		return fmt.Errorf("upstream tables of %s: %w", schema, err)
	}
	down := schema
	if name, ok := o.Downstream[schema]; ok {
		down = name
	}
	dt, err := tables(ctx, dc, down)
	if err != nil {
		return fmt.Errorf("downstream tables of %s: %w", schema, err)
	}
	ignored := make(map[string]bool)
	for _, name := range o.Ignore {
		ignored[name] = true
	}
	have := make(map[string]bool)
	for _, t := range dt {
		have[t] = true
	}
	for _, t := range ut {
		if ignored[schema+"."+t] {
			delete(have, t)
			continue
		}
		if !have[t] {
			res.diff(o, "%s.%s: missing downstream", schema, t)
			continue
		}
		delete(have, t)
		if err := compareTable(ctx, uc, dc, schema, down, t, o, res); err != nil {
			return fmt.Errorf("%s.%s: %w", schema, t, err)
		}
		res.Tables++
	}
	for t := range have {
		if !ignored[schema+"."+t] {
			res.diff(o, "%s.%s: only downstream", schema, t)
		}
	}
	return nil
}

// tables lists base tables. It uses SHOW, because that honours tidb_snapshot.
func tables(ctx context.Context, c *sql.Conn, schema string) ([]string, error) {
	rows, err := c.QueryContext(ctx, "SHOW FULL TABLES FROM "+quote(schema))
	if err != nil {
		if strings.Contains(err.Error(), "Unknown database") || strings.Contains(err.Error(), "1049") {
			return nil, nil
		}
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var name, kind string
		if err := rows.Scan(&name, &kind); err != nil {
			return nil, err
		}
		if strings.EqualFold(kind, "BASE TABLE") {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out, rows.Err()
}

// table is the content of one table: rows as text, sorted.
type table struct {
	columns []string
	norms   []func(string) string
	rows    []string
}

func compareTable(ctx context.Context, uc, dc *sql.Conn, schema, down, name string, o *Options, res *Result) error {
	u, err := read(ctx, uc, schema, name)
	if err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	d, err := read(ctx, dc, down, name)
	if err != nil {
		return fmt.Errorf("downstream: %w", err)
	}
	res.Rows += int64(len(u.rows))
	if uc, dc := strings.Join(u.columns, ","), strings.Join(d.columns, ","); !strings.EqualFold(uc, dc) {
		res.diff(o, "%s.%s: columns differ: up (%s) down (%s)", schema, name, uc, dc)
		return nil
	}
	i, j := 0, 0
	for i < len(u.rows) || j < len(d.rows) {
		switch {
		case j >= len(d.rows) || (i < len(u.rows) && u.rows[i] < d.rows[j]):
			res.diff(o, "%s.%s: only upstream: %s", schema, name, show(u.rows[i]))
			i++
		case i >= len(u.rows) || u.rows[i] > d.rows[j]:
			res.diff(o, "%s.%s: only downstream: %s", schema, name, show(d.rows[j]))
			j++
		default:
			i++
			j++
		}
	}
	return nil
}

func show(row string) string {
	const most = 400
	if len(row) > most {
		row = row[:most] + "..."
	}
	return strconv.QuoteToASCII(row)
}

// read fetches a table whole. Rows are compared as sorted multisets, so that
// tables without a key and differing collations need no common order.
func read(ctx context.Context, c *sql.Conn, schema, name string) (*table, error) {
	rows, err := c.QueryContext(ctx, "SELECT * FROM "+quote(schema)+"."+quote(name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	t := &table{}
	dest := make([]any, len(types))
	raw := make([]sql.RawBytes, len(types))
	for i, ct := range types {
		t.columns = append(t.columns, ct.Name())
		t.norms = append(t.norms, normalizer(ct.DatabaseTypeName()))
		dest[i] = &raw[i]
	}
	var buf bytes.Buffer
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		buf.Reset()
		for i, v := range raw {
			writeCell(&buf, v, t.norms[i])
		}
		t.rows = append(t.rows, buf.String())
	}
	sort.Strings(t.rows)
	return t, rows.Err()
}

// normalizer returns what makes the texts of equal values equal for types
// that servers print differently: floats, and integers with ZEROFILL, which
// TiDB does not pad. nil leaves the text as it is.
func normalizer(columnType string) func(string) string {
	switch {
	case columnType == "FLOAT" || columnType == "DOUBLE":
		return func(s string) string {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return s
			}
			return strconv.FormatFloat(f, 'g', 6, 64)
		}
	case strings.HasSuffix(columnType, "INT"):
		return func(s string) string {
			if t := strings.TrimLeft(s, "0"); t != "" {
				return t
			}
			return "0"
		}
	}
	return nil
}

// writeCell renders one value.
func writeCell(buf *bytes.Buffer, v sql.RawBytes, norm func(string) string) {
	if v == nil {
		buf.WriteString("NULL|")
		return
	}
	buf.WriteByte('=')
	if norm != nil {
		buf.WriteString(norm(string(v)))
	} else {
		buf.Write(v)
	}
	buf.WriteByte('|')
}

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }
