package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/kafka"
)

// foreignCase is a reader of another project, and how it shows the columns.
type foreignCase struct {
	format string
	params string   // of the sink URI
	flink  string   // Flink's row type; "" for other readers
	show   []string // columns and, behind a blank, the expression for the same text upstream
	table  string
}

// foreignCases read a table with the columns of foreignTable. What a protocol
// turns into something else is compared with the same turn in SQL.
func foreignCases() []foreignCase {
	text := []string{"id id", "i i", "u u", "de de", "s s", "tx tx"}
	flinkText := "ROW<`id` INT, `i` BIGINT, `u` BIGINT, `de` DECIMAL(20,4), `s` STRING, `tx` STRING, "
	return []foreignCase{
		{format: "canal-json", table: "t", params: "protocol=canal-json", flink: flinkText + "`f` DOUBLE, `d` DATE, `dt` TIMESTAMP(3), `tm` TIME, `ts` TIMESTAMP(6), `en` STRING, `bi` STRING, `js` STRING>",
			show: append(text, "f CAST(f AS CHAR)", "d d", "dt REPLACE(dt,' ','T')", "tm tm", "ts REPLACE(ts,' ','T')", "en en+0", "bi bi+0", "js js")},
		{format: "canal", table: "t", params: "protocol=canal",
			show: append(text, "f CAST(f AS CHAR)", "d d", "dt dt", "tm tm", "ts ts", "en en+0", "bi bi+0", "js js")},
		{format: "avro", table: "t", params: "protocol=avro&schema-registry=",
			show: append(text, "f CAST(f AS CHAR)", "d d", "dt dt", "tm tm", "ts ts", "en en", "vb CONCAT('x', LOWER(HEX(vb)))", "js js")},
		{format: "debezium-json", table: "t", params: "protocol=debezium",
			flink: "ROW<`id` INT, `i` BIGINT, `u` BIGINT, `de` DOUBLE, `s` STRING, `tx` STRING, `f` DOUBLE, `d` INT, `dt` BIGINT, `tm` BIGINT, `ts` STRING, `en` STRING, `vb` STRING, `js` STRING>",
			show: []string{"id id", "i i", "u u", "de CAST(de + 0.0e0 AS CHAR)", "s s", "tx tx", "f CAST(f AS CHAR)", "d DATEDIFF(d, '1970-01-01')",
				"dt CAST(UNIX_TIMESTAMP(dt) * 1000 AS SIGNED)", "tm TIME_TO_SEC(tm) * 1000000", "ts CONCAT(REPLACE(ts,' ','T'),'Z')", "en en", "vb TO_BASE64(vb)", "js js"}},
		// Flink wants the row of a delete in another place than TiCDC puts it.
		{format: "maxwell-json", table: "kept", params: "protocol=maxwell", flink: flinkText + "`f` DOUBLE, `d` DATE, `dt` TIMESTAMP(3), `ts` TIMESTAMP(6), `vb` STRING, `js` STRING>",
			show: append(text, "f CAST(f AS CHAR)", "d d", "dt REPLACE(dt,' ','T')", "ts REPLACE(ts,' ','T')", "vb TO_BASE64(vb)", "js js")},
	}
}

const foreignTable = `(id INT PRIMARY KEY, i BIGINT, u INT UNSIGNED, de DECIMAL(20,4), s VARCHAR(50), tx TEXT, f DOUBLE, d DATE,
	dt DATETIME(3), tm TIME, ts TIMESTAMP(6) NULL, en ENUM('a','b','it''s'), bi BIT(20), vb VARBINARY(20), js JSON)`

// foreignScript writes a table's life; without deletes if it is to be kept.
func foreignScript(table string) []string {
	values := []string{
		`-9223372036854775808, 4294967295, -1234567890123456.7891, 'it''s "q" \\ <&>', '漢😀 \n\t', 1.5, '2024-02-29', '2024-02-29 12:34:56.789', '12:34:56', '2024-01-02 03:04:05.123456', 'it''s', 1000, x'00ff8041', '{"a": [1, null, "ü"]}'`,
		"NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
		`9223372036854775807, 0, 0.0001, '', '', -0.25, '1999-12-31', '1999-12-31 23:59:59.001', '00:00:01', '2038-01-19 03:14:07.999999', 'a', 0, '', '[]'`,
	}
	var out []string
	count := 30
	if table == "kept" {
		count = 9
	}
	for i := range count {
		out = append(out, fmt.Sprintf("INSERT INTO kforeign.%s VALUES (%d, %s)", table, i, values[i%3]))
		if i >= count/3 {
			out = append(out, fmt.Sprintf("REPLACE INTO kforeign.%s VALUES (%d, %s)", table, i, values[(i+1)%3]))
		}
		if i >= count*2/3 {
			out = append(out, fmt.Sprintf("UPDATE kforeign.%s SET i = %d WHERE id = %d", table, i, i))
		}
	}
	if table != "kept" {
		out = append(out, "DELETE FROM kforeign.t WHERE id % 4 = 0")
	}
	return out
}

// TestKafkaForeign has what the sink writes read by libraries of Flink, Canal
// and Avro.
func TestKafkaForeign(t *testing.T) {
	ctx := testContext(t, 6*time.Minute)
	shared.queue.start(ctx, t)
	exec(ctx, t, shared.upDB, "CREATE DATABASE kforeign", "CREATE TABLE kforeign.t "+foreignTable, "CREATE TABLE kforeign.kept "+foreignTable)
	startTs, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	broker := shared.queue.broker.Addrs()[0]
	for _, c := range foreignCases() {
		topic := "foreign-" + c.format
		params := c.params
		if c.format == "avro" {
			params += shared.queue.registry
		}
		require.NoError(t, shared.server.API.Create(ctx, cluster.Feed{
			ID: topic, StartTs: startTs, SinkURI: "kafka://" + broker + "/" + topic + "?partition-num=2&" + params,
			ReplicaConfig: map[string]any{
				"filter": map[string]any{"rules": []string{"kforeign." + c.table}},
				"sink":   map[string]any{"dispatchers": []any{map[string]any{"matcher": []string{"*.*"}, "partition": "index-value", "topic": topic}}},
			},
		}))
		t.Cleanup(func() { _ = shared.server.API.Delete(context.Background(), topic) })
	}
	exec(ctx, t, shared.upDB, append([]string{"SET time_zone='+00:00'"}, foreignScript("t")...)...)
	// Flink's Maxwell format reads one row per message: rows must come one by one.
	for _, text := range foreignScript("kept") {
		exec(ctx, t, shared.upDB, "SET time_zone='+00:00'", text)
		ts, err := cluster.TSO(ctx, shared.upDB)
		require.NoError(t, err)
		require.NoError(t, shared.server.API.WaitCheckpoint(ctx, "foreign-maxwell-json", ts))
	}
	ts, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	for _, c := range foreignCases() {
		t.Run(c.format, func(t *testing.T) {
			topic := "foreign-" + c.format
			require.NoError(t, shared.server.API.WaitCheckpoint(ctx, topic, ts))
			args := []string{c.table}
			if c.flink != "" {
				args = append(args, c.flink)
			}
			if c.format == "avro" {
				args = []string{shared.queue.registry}
			}
			changes, err := kafka.ReadForeign(ctx, c.format, broker, topic, args...)
			require.NoError(t, err)
			require.Equal(t, upstreamRows(ctx, t, shared.upDB, c), lastRows(c, changes))
		})
	}
}

// lastRows applies changes to an empty table and returns its rows by their ids.
func lastRows(c foreignCase, changes []kafka.Change) map[string][]string {
	rows := make(map[string][]string)
	for _, ch := range changes {
		id := shown(ch.Row["id"])
		if ch.Op[0] == '-' {
			delete(rows, id)
			continue
		}
		var row []string
		for _, s := range c.show {
			name, _, _ := strings.Cut(s, " ")
			row = append(row, name+"="+shown(ch.Row[name]))
		}
		rows[id] = row
	}
	return rows
}

func shown(s *string) string {
	if s == nil {
		return "NULL"
	}
	return *s
}

// upstreamRows reads the same from the upstream.
func upstreamRows(ctx context.Context, t *testing.T, db *sql.DB, c foreignCase) map[string][]string {
	t.Helper()
	names, expressions := make([]string, len(c.show)), make([]string, len(c.show))
	for i, s := range c.show {
		names[i], expressions[i], _ = strings.Cut(s, " ")
	}
	rows, err := db.QueryContext(ctx, "SELECT "+strings.Join(expressions, ", ")+" FROM kforeign."+c.table)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	out := make(map[string][]string)
	for rows.Next() {
		values := make([]sql.NullString, len(names))
		dest := make([]any, len(names))
		for i := range values {
			dest[i] = &values[i]
		}
		require.NoError(t, rows.Scan(dest...))
		var row []string
		for i, v := range values {
			if v.Valid {
				row = append(row, names[i]+"="+v.String)
			} else {
				row = append(row, names[i]+"=NULL")
			}
		}
		out[values[0].String] = row
	}
	require.NoError(t, rows.Err())
	require.NotEmpty(t, out)
	return out
}
