package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/workload"
)

// pair is a protocol with a dispatcher.
type pair struct {
	protocolCase
	dispatch string
}

// matrix lists the pairs to test: each protocol with two dispatchers, in turns.
// KAFKA_MATRIX=full makes it all pairs, KAFKA_PROTOCOLS chooses protocols.
func matrix() []pair {
	full, only := os.Getenv("KAFKA_MATRIX") == "full", os.Getenv("KAFKA_PROTOCOLS")
	dispatch := []string{"table", "index", "ts", "columns"}
	var pairs []pair
	for i, p := range protocolCases() {
		if only != "" && !slices.Contains(strings.Split(only, ","), p.name) {
			continue
		}
		for j, d := range dispatch {
			if turn := (i + j) % len(dispatch); full || turn == 0 || turn == 1 {
				pairs = append(pairs, pair{p, d})
			}
		}
	}
	return pairs
}

// kafkaTables are the tables of the type test: "ktypes" lives through changes,
// "kinserts" through inserts only, for what keeps no order between changes of
// one row: partitions by commit-ts, read without watermarks.
func kafkaTables(schema string) map[string]typeGroup {
	out := make(map[string]typeGroup)
	for kind := range keyKinds() {
		for _, g := range typeGroups() {
			if schema == "ktypes" || kind == "int" {
				out[g.name+"_"+kind] = g
			}
		}
	}
	return out
}

var vectorType = regexp.MustCompile(`VECTOR(\(\d+\))?`)

func TestKafkaTypes(t *testing.T) {
	ctx := testContext(t, 8*time.Minute)
	shared.queue.start(ctx, t)
	exec(ctx, t, shared.upDB, "CREATE DATABASE ktypes", "CREATE DATABASE kinserts")
	startTs, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	var feeds []*queueFeed
	schemaOf := make(map[string]string)
	ignored := make(map[string][]string)
	for _, p := range matrix() {
		schema := "ktypes"
		if p.dispatch == "ts" && !p.ddl {
			schema = "kinserts"
		}
		rules := []string{schema + ".*"}
		name := "types-" + p.dispatch
		for table, g := range kafkaTables(schema) {
			if slices.Contains(p.skip, g.name) {
				rules = append(rules, "!"+schema+"."+table)
				ignored[name+"-"+p.name] = append(ignored[name+"-"+p.name], schema+"."+table)
			}
		}
		f := startQueueFeed(ctx, t, shared, feedOptions{name: name, protocol: p.protocolCase,
			dispatch: dispatchers()[p.dispatch], startTs: startTs, rules: rules})
		feeds, schemaOf[f.id] = append(feeds, f), schema
		f.makeDownstream(ctx, t, shared.downs[1].db, "CREATE DATABASE `"+schema+"`")
		if !p.ddl {
			f.makeDownstream(ctx, t, shared.downs[1].db, createTables(schema)...)
		}
	}
	for table, g := range kafkaTables("ktypes") {
		writeGroup(t, g, "ktypes."+table, keyKinds()[table[strings.LastIndexByte(table, '_')+1:]])
	}
	for table, g := range kafkaTables("kinserts") {
		stmts := []string{"SET sql_mode='ALLOW_INVALID_DATES'", "SET time_zone='+00:00'",
			fmt.Sprintf("CREATE TABLE kinserts.%s (%s, %s)", table, keyKinds()["int"], g.cols)}
		for i, row := range g.rows {
			stmts = append(stmts, fmt.Sprintf("INSERT INTO kinserts.%s VALUES (%d,%s)", table, i, row))
		}
		exec(ctx, t, shared.upDB, stmts...)
	}
	ts, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	for _, f := range feeds {
		f.requireConsumed(ctx, t, shared, ts, []string{schemaOf[f.id]}, ignored[f.id]...)
	}
}

// createTables makes the tables of a schema for MariaDB, which knows neither
// vectors nor the words about clustered keys.
func createTables(schema string) []string {
	stmts := []string{"SET sql_mode=''"}
	for table, g := range kafkaTables(schema) {
		kind := keyKinds()[table[strings.LastIndexByte(table, '_')+1:]]
		text := fmt.Sprintf("CREATE TABLE `%s`.`%s` (%s, %s) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", schema, table, kind, g.cols)
		text = strings.NewReplacer(" NONCLUSTERED", "", " CLUSTERED", "").Replace(text)
		stmts = append(stmts, vectorType.ReplaceAllString(text, "LONGTEXT"))
	}
	return stmts
}

func TestKafkaDDL(t *testing.T) {
	ctx := testContext(t, 6*time.Minute)
	shared.queue.start(ctx, t)
	exec(ctx, t, shared.upDB, "CREATE DATABASE kddl", "CREATE DATABASE kddlload")
	startTs, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	var feeds []*queueFeed
	for _, p := range matrix() {
		if !p.ddl {
			continue
		}
		f := startQueueFeed(ctx, t, shared, feedOptions{name: "ddl-" + p.dispatch, protocol: p.protocolCase,
			dispatch: dispatchers()[p.dispatch], startTs: startTs, rules: []string{"kddl*.*"}})
		f.makeDownstream(ctx, t, shared.downs[1].db, "CREATE DATABASE `kddl`", "CREATE DATABASE `kddlload`")
		feeds = append(feeds, f)
	}
	load := workload.Spec{Schema: "kddlload", Tables: 8, Keys: 200, Workers: 2, Seed: 1}
	require.NoError(t, load.Prepare(ctx, shared.upDB))
	loadCtx, stop := context.WithTimeout(ctx, 3*time.Second)
	defer stop()
	finished := make(chan error, 1)
	go func() {
		_, err := load.Run(loadCtx, shared.upDB)
		finished <- err
	}()
	for _, text := range ddlScript() {
		// The rows that exist get the time of the statement: messages do not tell it.
		if !strings.Contains(text, "CURRENT_TIMESTAMP") {
			exec(ctx, t, shared.upDB, strings.ReplaceAll(text, "ddl", "kddl"))
		}
	}
	require.NoError(t, <-finished)
	ts := settledTSO(ctx, t, shared)
	for _, f := range feeds {
		f.requireConsumed(ctx, t, shared, ts, []string{"kddl", "kddl2", "kddl3", "kddlload"})
	}
}
