package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/test/cluster"
	"github.com/tidemark/tidemark/test/workload"
)

// ddlScript is run in order, while other tables are written to. Rows are put
// between the statements, so that each schema version has some of its own.
func ddlScript() []string {
	return []string{
		"CREATE DATABASE ddl2",
		"CREATE TABLE ddl.a (id INT PRIMARY KEY, v INT, s VARCHAR(20)) COMMENT 'first'",
		"INSERT INTO ddl.a VALUES (1,1,'one'),(2,2,'two'),(3,3,'three')",
		"ALTER TABLE ddl.a ADD COLUMN c1 INT DEFAULT 5",
		"INSERT INTO ddl.a VALUES (4,4,'four',44)",
		"UPDATE ddl.a SET v = v + 100 WHERE id = 1",
		"ALTER TABLE ddl.a ADD COLUMN c2 TIMESTAMP(3) NOT NULL DEFAULT '2020-01-01 00:00:00.123', ADD COLUMN c3 ENUM('p','q') NOT NULL",
		"UPDATE ddl.a SET v = v + 1 WHERE id = 2",
		"INSERT INTO ddl.a (id, v, s, c3) VALUES (5,5,'five','q')",
		"ALTER TABLE ddl.a ADD COLUMN now0 TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, ADD COLUMN now6 TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6)",
		"ALTER TABLE ddl.a MODIFY COLUMN v BIGINT NOT NULL",
		"UPDATE ddl.a SET v = 9223372036854775807 WHERE id = 3",
		"ALTER TABLE ddl.a MODIFY COLUMN s VARCHAR(5)",
		"ALTER TABLE ddl.a CHANGE COLUMN s txt VARCHAR(60)",
		"INSERT INTO ddl.a (id, v, txt) VALUES (6,6,'six, renamed')",
		"ALTER TABLE ddl.a MODIFY COLUMN v VARCHAR(30)",
		"UPDATE ddl.a SET v = 'was a number' WHERE id = 6",
		"ALTER TABLE ddl.a RENAME COLUMN txt TO text_col",
		"ALTER TABLE ddl.a DROP COLUMN c1",
		"INSERT INTO ddl.a (id, v, text_col) VALUES (7,'seven','7')",
		"ALTER TABLE ddl.a ADD COLUMN c4 INT FIRST, ADD COLUMN c5 INT AFTER id, DROP COLUMN c3",
		"INSERT INTO ddl.a (id, v, c4, c5) VALUES (8,'eight',4,5)",
		"ALTER TABLE ddl.a ALTER COLUMN c4 SET DEFAULT 77",
		"INSERT INTO ddl.a (id, v) VALUES (9,'nine')",
		"ALTER TABLE ddl.a ALTER COLUMN c4 DROP DEFAULT",
		"INSERT INTO ddl.a (id, v, c4) VALUES (12,'twelve',1)",
		"ALTER TABLE ddl.a ALTER COLUMN c4 SET DEFAULT 2",
		"CREATE INDEX ix ON ddl.a (v)",
		"CREATE UNIQUE INDEX ux ON ddl.a (id, v)",
		"ALTER TABLE ddl.a RENAME INDEX ix TO ix2",
		"DROP INDEX ux ON ddl.a",
		"DROP INDEX ix2 ON ddl.a",
		"ALTER TABLE ddl.a COMMENT = 'it''s changed'",
		"ALTER TABLE ddl.a CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
		"ALTER DATABASE ddl CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
		"RENAME TABLE ddl.a TO ddl.b",
		"INSERT INTO ddl.b (id, v) VALUES (10,'ten')",
		"RENAME TABLE ddl.b TO ddl2.b",
		"INSERT INTO ddl2.b (id, v) VALUES (11,'eleven')",
		"CREATE TABLE ddl.c (id INT PRIMARY KEY); CREATE TABLE ddl.d (id INT PRIMARY KEY)",
		"INSERT INTO ddl.c VALUES (1); INSERT INTO ddl.d VALUES (2)",
		"RENAME TABLE ddl.c TO ddl.tmp, ddl.d TO ddl.c, ddl.tmp TO ddl.d",
		"INSERT INTO ddl.c VALUES (11); INSERT INTO ddl.d VALUES (12)",
		"TRUNCATE TABLE ddl.c",
		"INSERT INTO ddl.c VALUES (21)",
		"CREATE TABLE ddl.like_c LIKE ddl.c",
		"INSERT INTO ddl.like_c VALUES (31)",
		"CREATE VIEW ddl.view_c AS SELECT id FROM ddl.c",
		"DROP VIEW ddl.view_c",
		// Primary keys can be added and dropped only where not clustered.
		"CREATE TABLE ddl.pk (id INT NOT NULL, u INT NOT NULL, UNIQUE KEY uu (u))",
		"INSERT INTO ddl.pk VALUES (1,1),(2,2)",
		"ALTER TABLE ddl.pk ADD PRIMARY KEY (id)",
		"UPDATE ddl.pk SET u = 5 WHERE id = 1",
		"ALTER TABLE ddl.pk DROP PRIMARY KEY",
		"UPDATE ddl.pk SET id = 6 WHERE u = 5",
		// Partitions.
		"CREATE TABLE ddl.p (id INT PRIMARY KEY, v INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (100), PARTITION p1 VALUES LESS THAN (200))",
		"INSERT INTO ddl.p VALUES (1,1),(50,2),(150,3)",
		"ALTER TABLE ddl.p ADD PARTITION (PARTITION p2 VALUES LESS THAN (300))",
		"INSERT INTO ddl.p VALUES (250,4)",
		"ALTER TABLE ddl.p TRUNCATE PARTITION p0",
		"INSERT INTO ddl.p VALUES (2,5)",
		"ALTER TABLE ddl.p DROP PARTITION p1",
		"INSERT INTO ddl.p VALUES (3,6)",
		"ALTER TABLE ddl.p REORGANIZE PARTITION p2 INTO (PARTITION p2a VALUES LESS THAN (260), PARTITION p2b VALUES LESS THAN (300))",
		"INSERT INTO ddl.p VALUES (270,7)",
		"UPDATE ddl.p SET v = v + 1",
		"CREATE TABLE ddl.px (id INT PRIMARY KEY, v INT)",
		"INSERT INTO ddl.px VALUES (255,100)",
		"ALTER TABLE ddl.p EXCHANGE PARTITION p2a WITH TABLE ddl.px",
		"INSERT INTO ddl.px VALUES (7,8)",
		"INSERT INTO ddl.p VALUES (256,9)",
		"CREATE TABLE ddl.h (id INT PRIMARY KEY, v INT)",
		"INSERT INTO ddl.h VALUES (1,1),(2,2),(3,3)",
		"ALTER TABLE ddl.h PARTITION BY HASH (id) PARTITIONS 3",
		"INSERT INTO ddl.h VALUES (4,4); UPDATE ddl.h SET v = 20 WHERE id = 2",
		"ALTER TABLE ddl.h REMOVE PARTITIONING",
		"INSERT INTO ddl.h VALUES (5,5); DELETE FROM ddl.h WHERE id = 1",
		// Auto-increment base, drop and create under the same name.
		"CREATE TABLE ddl.ai (id BIGINT AUTO_INCREMENT PRIMARY KEY, v INT)",
		"ALTER TABLE ddl.ai AUTO_INCREMENT = 5000",
		"INSERT INTO ddl.ai (v) VALUES (1),(2)",
		"CREATE TABLE ddl.again (id INT PRIMARY KEY, old INT)",
		"INSERT INTO ddl.again VALUES (1,1)",
		"DROP TABLE ddl.again",
		"CREATE TABLE ddl.again (id VARCHAR(10) PRIMARY KEY, fresh TEXT)",
		"INSERT INTO ddl.again VALUES ('1','new')",
		"CREATE TABLE ddl.m1 (id INT PRIMARY KEY); CREATE TABLE ddl.m2 (id INT PRIMARY KEY)",
		"DROP TABLE ddl.m1, ddl.m2",
		"CREATE DATABASE ddl3; CREATE TABLE ddl3.x (id INT PRIMARY KEY); INSERT INTO ddl3.x VALUES (1)",
		"DROP DATABASE ddl3",
	}
}

// tidbScript holds what MariaDB has no words for.
func tidbScript() []string {
	return []string{
		"CREATE DATABASE ddltidb",
		"CREATE TABLE ddltidb.a (id BIGINT AUTO_RANDOM PRIMARY KEY, v INT, e VECTOR(2), KEY ix (v))",
		"INSERT INTO ddltidb.a (v, e) VALUES (1, '[1,2]'), (2, NULL)",
		"ALTER TABLE ddltidb.a ALTER INDEX ix INVISIBLE",
		"ALTER TABLE ddltidb.a ADD COLUMN `at` TIMESTAMP NOT NULL DEFAULT '2024-05-05 05:05:05'",
		"ALTER TABLE ddltidb.a TTL = `at` + INTERVAL 100 YEAR",
		"ALTER TABLE ddltidb.a REMOVE TTL",
		"INSERT INTO ddltidb.a (v) VALUES (3)",
		"CREATE TABLE ddltidb.r (id INT PRIMARY KEY, v INT) PARTITION BY LIST (id) (PARTITION a VALUES IN (1,2), PARTITION b DEFAULT)",
		"INSERT INTO ddltidb.r VALUES (1,1),(3,3)",
		"ALTER TABLE ddltidb.r REORGANIZE PARTITION b INTO (PARTITION c VALUES IN (3), PARTITION b DEFAULT)",
		"INSERT INTO ddltidb.r VALUES (4,4)",
		"CREATE TABLE ddltidb.gone (id INT PRIMARY KEY, v INT)",
		"INSERT INTO ddltidb.gone VALUES (1,1)",
		"DROP TABLE ddltidb.gone",
		"RECOVER TABLE ddltidb.gone",
		"INSERT INTO ddltidb.gone VALUES (2,2)",
	}
}

func TestDDL(t *testing.T) {
	ctx := testContext(t, 4*time.Minute)
	exec(ctx, t, shared.upDB, "CREATE DATABASE ddl", "CREATE DATABASE ddlload")
	for _, d := range shared.downs {
		exec(ctx, t, d.db, "CREATE DATABASE IF NOT EXISTS ddl", "CREATE DATABASE IF NOT EXISTS ddlload")
	}
	startTs, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	feeds := createFeeds(ctx, t, shared, "ddl", startTs, "ddl*.*", "mariadb:!ddltidb.*")

	load := workload.Spec{Schema: "ddlload", Tables: 8, Keys: 300, Workers: 2, Seed: 1}
	require.NoError(t, load.Prepare(ctx, shared.upDB))
	loadCtx, stop := context.WithCancel(ctx)
	finished := make(chan error, 1)
	go func() {
		_, err := load.Run(loadCtx, shared.upDB)
		finished <- err
	}()
	exec(ctx, t, shared.upDB, ddlScript()...)
	exec(ctx, t, shared.upDB, tidbScript()...)
	// The tables under load change their shape too.
	exec(ctx, t, shared.upDB,
		"ALTER TABLE ddlload.t000 ADD COLUMN extra INT DEFAULT 3",
		"ALTER TABLE ddlload.t001 ADD COLUMN extra VARCHAR(10) NOT NULL DEFAULT 'x', ADD INDEX ix (n)",
		"ALTER TABLE ddlload.t002 DROP COLUMN d",
		"ALTER TABLE ddlload.t003 MODIFY COLUMN n BIGINT",
		"TRUNCATE TABLE ddlload.t004",
		"RENAME TABLE ddlload.t006 TO ddlload.renamed, ddlload.t007 TO ddlload.t006",
		"DROP TABLE ddlload.t006",
	)
	stop()
	require.NoError(t, <-finished)
	requireReplicated(ctx, t, shared, feeds, []string{"ddl", "ddl2", "ddl3", "ddlload"})
	only := *shared
	only.downs = shared.downs[:1]
	requireReplicated(ctx, t, &only, feeds[:1], []string{"ddltidb"})
}

func TestFilterRules(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	exec(ctx, t, shared.upDB, "CREATE DATABASE flt",
		"CREATE TABLE flt.keep (id INT PRIMARY KEY, v INT)",
		"CREATE TABLE flt.leave (id INT PRIMARY KEY, v INT)",
		"CREATE TABLE flt.Upper (id INT PRIMARY KEY)")
	startTs, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	for _, d := range shared.downs {
		exec(ctx, t, d.db, "CREATE DATABASE flt", "CREATE TABLE flt.keep (id INT PRIMARY KEY, v INT)", "CREATE TABLE flt.Upper (id INT PRIMARY KEY)")
	}
	feeds := createFeeds(ctx, t, shared, "flt", startTs, "flt.*", "!flt.leave*", "!flt.u?p*x")
	exec(ctx, t, shared.upDB,
		"INSERT INTO flt.keep VALUES (1,1)", "INSERT INTO flt.leave VALUES (1,1)",
		"ALTER TABLE flt.leave ADD COLUMN x INT",
		"CREATE TABLE flt.leave2 (id INT PRIMARY KEY)", "INSERT INTO flt.leave2 VALUES (5)",
		"CREATE TABLE flt.made (id INT PRIMARY KEY)", "INSERT INTO flt.made VALUES (5)",
		// Renamed out of the rules: the rename goes down, later rows do not.
		"RENAME TABLE flt.made TO flt.leave3", "INSERT INTO flt.leave3 VALUES (6)",
		"INSERT INTO flt.upper VALUES (1)",
	)
	ts, err := cluster.TSO(ctx, shared.upDB)
	require.NoError(t, err)
	for i, id := range feeds {
		require.NoError(t, shared.server.API.WaitCheckpoint(ctx, id, ts))
		db := shared.downs[i].db
		var n int
		require.NoError(t, db.QueryRowContext(ctx, "SELECT COUNT(*) FROM flt.keep").Scan(&n))
		require.Equal(t, 1, n)
		require.NoError(t, db.QueryRowContext(ctx, "SELECT COUNT(*) FROM flt.leave3").Scan(&n))
		require.Equal(t, 1, n, "rows after the rename must be filtered")
		require.NoError(t, db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema='flt' AND table_name IN ('leave','leave2')").Scan(&n))
		require.Zero(t, n)
		require.NoError(t, db.QueryRowContext(ctx, "SELECT COUNT(*) FROM flt.Upper").Scan(&n))
		require.Equal(t, 1, n)
	}
}
