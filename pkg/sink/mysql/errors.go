package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	stderrors "errors"
	"time"

	gomysql "github.com/go-sql-driver/mysql"
)

// MySQL and TiDB error numbers that the sink tells apart.
const (
	errDBCreateExists     = 1007
	errDBDropNotExists    = 1008
	errDBAccessDenied     = 1044
	errAccessDenied       = 1045
	errNoDB               = 1046
	errBadDB              = 1049
	errTableExists        = 1050
	errBadTable           = 1051
	errBadField           = 1054
	errDupFieldName       = 1060
	errDupKeyName         = 1061
	errDupEntry           = 1062
	errParse              = 1064
	errMultiplePriKey     = 1068
	errKeyColumnNotExists = 1072
	errWrongKey           = 1066 // not unique table or alias
	errNoSuchIndex        = 1082
	errCantDropField      = 1091
	errNoSuchTable        = 1146
	errPacketTooLarge     = 1153
	errSyntax             = 1149
	errWrongColumnName    = 1166
	errUnknownVariable    = 1193
	errKeyNotExists       = 1176
	errDeadlock           = 1213
	errPartitionMaxvalue  = 1481
	errRangeNotIncreasing = 1493
	errPartitionMgmt      = 1505
	errPartitionNotExists = 1507
	errSamePartitionName  = 1517
	errSameViewUnknown    = 4092 // MariaDB: unknown view
	errTablePKRequired    = 3750
	errTiKVLockConflict   = 9007 // TiDB: write conflict
	errTiDBRetryable      = 8022 // TiDB: commit failed, retry
	errTiDBInfoChanged    = 8028 // TiDB: schema changed during the transaction
	errTiDBUndetermined   = 8501 // TiDB: the outcome of the commit is unknown
)

// numberOf returns the server's error number, 0 for errors that no server sent.
func numberOf(err error) uint16 {
	var e *gomysql.MySQLError
	if stderrors.As(err, &e) {
		return e.Number
	}
	return 0
}

// isConnectionError tells errors after which it is unknown whether the server
// has executed the statement: everything that the server did not say itself.
func isConnectionError(err error) bool {
	return err != nil && numberOf(err) == 0 && !stderrors.Is(err, sql.ErrNoRows)
}

// outcomeUnknown tells failures of a transaction that may have been committed
// all the same.
func outcomeUnknown(err error) bool {
	return isConnectionError(err) && !stderrors.Is(err, driver.ErrBadConn) && !tooLarge(err) ||
		numberOf(err) == errTiDBUndetermined
}

// tooLarge tells that a packet was larger than the server takes. It has
// changed nothing.
func tooLarge(err error) bool {
	return stderrors.Is(err, gomysql.ErrPktTooLarge) || numberOf(err) == errPacketTooLarge
}

// dmlFinal tells errors of rows that no retry cures.
func dmlFinal(err error) bool {
	if stderrors.Is(err, context.Canceled) {
		return true
	}
	switch numberOf(err) {
	case errNoSuchTable, errBadDB, errDupEntry:
		return true
	}
	return false
}

// isLockConflict tells errors that a retry a moment later normally cures.
func isLockConflict(err error) bool {
	switch numberOf(err) {
	case errDeadlock, errTiKVLockConflict, errTiDBRetryable, errTiDBInfoChanged:
		return true
	}
	return false
}

// ddlDone tells errors that mean that the statement has been executed before.
func ddlDone(err error) bool {
	switch numberOf(err) {
	case errDBCreateExists, errDBDropNotExists, errTableExists, errBadTable, errBadField,
		errDupFieldName, errDupKeyName, errMultiplePriKey, errCantDropField, errKeyNotExists,
		errPartitionNotExists, errSamePartitionName, errSameViewUnknown:
		return true
	}
	return false
}

// ddlFinal tells errors of a DDL that no retry cures.
func ddlFinal(err error) bool {
	if stderrors.Is(err, context.Canceled) {
		return true
	}
	switch numberOf(err) {
	case errDBAccessDenied, errAccessDenied, errNoDB, errBadDB, errParse, errWrongKey, errKeyColumnNotExists,
		errNoSuchIndex, errNoSuchTable, errSyntax, errWrongColumnName, errPartitionMgmt, errTablePKRequired:
		return true
	}
	return false
}

// Bounds of the waits between tries.
const (
	dmlMaxTries     = 8
	ddlMaxTries     = 20
	minBackoff      = 500 * time.Millisecond
	maxBackoff      = 60 * time.Second
	conflictBackoff = 20 * time.Millisecond
	conflictTries   = 3
)

// backoff is the wait after the given failed try, counted from 1. Lock
// conflicts get a few quick tries first: the other side is normally another
// worker of this very sink, done within milliseconds.
func backoff(try int, err error) time.Duration {
	if try == 1 && stderrors.Is(err, driver.ErrBadConn) {
		return 0 // the server had closed the idle connection: nothing was sent
	}
	if isLockConflict(err) {
		if try <= conflictTries {
			return conflictBackoff << (try - 1)
		}
		try -= conflictTries
	}
	return min(minBackoff<<min(try-1, 10), maxBackoff)
}
