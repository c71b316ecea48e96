package model

import (
	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/pingcap/tidb/pkg/parser/mysql"
)

// DDLEvent is one schema change, as it is to be executed or announced
// downstream. A job that touches several tables may become several events
// with the same CommitTs and rising Seq.
type DDLEvent struct {
	JobID    int64
	Seq      int // position among the events of one job
	Type     timodel.ActionType
	StartTs  uint64 // TSO
	CommitTs uint64 // TSO of the finished job's row: the barrier
	// Query is the statement to execute downstream: exactly one statement,
	// normalised, names of the multi-table kinds qualified.
	Query string
	// Schema is the database to USE before Query; Table the table's name
	// after the change. Table is empty for database statements.
	Schema string
	Table  string
	// OldSchema and OldTable name the table before a rename; else empty.
	OldSchema string
	OldTable  string

	// PreInfo and Info are the table's versions before and after; nil where
	// the table did not exist or no longer does.
	PreInfo *Table
	Info    *Table

	// Parts are the shares of the single tables in a job that touches several
	// (rename tables, create tables). For exchange partition the event itself
	// is about the partitioned table, and its one part about the other table.
	Parts []*DDLEvent

	SQLMode mysql.SQLMode // of the session that issued the statement, as Charset and Collate
	Charset string
	Collate string
	// BDRRole is the role of the upstream in its BDR group when the statement
	// was issued, as in TiDB; CDCWriteSource is not 0 when a changefeed did it.
	BDRRole        string
	CDCWriteSource uint64
}
