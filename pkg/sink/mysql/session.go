package mysql

import (
	"context"
	"database/sql/driver"
	"time"
	"unsafe"
)

// idleCheck is the idle time after which a connection is looked at before it
// is used: the server may have closed it.
const idleCheck = 10 * time.Second

// maxStatements bounds the prepared statements that one session keeps.
const maxStatements = 128

// session is one worker's connection. It is dialled on first use and again
// after it broke. It works on the driver's connection directly: a worker owns
// its connection for good, so that database/sql's pool has nothing to add.
type session struct {
	connector driver.Connector
	conn      driver.Conn // nil when there is none
	lastUse   time.Time
	prepared  map[string]driver.Stmt
	keepStmts bool          // prepared statements are worth keeping
	timeout   time.Duration // of one round trip
	fence     func() error  // see sink.Options; not nil
}

// open makes sure that there is a connection.
func (s *session) open(ctx context.Context) error {
	if s.conn != nil && time.Since(s.lastUse) > idleCheck {
		if r, ok := s.conn.(driver.SessionResetter); ok && r.ResetSession(ctx) != nil {
			s.drop()
		}
	}
	if s.conn == nil {
		conn, err := s.connector.Connect(ctx)
		if err != nil {
			return err
		}
		s.conn = conn
		s.prepared = nil
	}
	s.lastUse = time.Now()
	return nil
}

// exec sends text, which may hold several statements, and waits for all of
// their results. The text is not kept.
func (s *session) exec(ctx context.Context, text []byte) error {
	execer, ok := s.conn.(driver.ExecerContext)
	if !ok {
		return driver.ErrBadConn
	}
	if err := s.fence(); err != nil {
		return err
	}
	// The driver copies the text into its write buffer, so it may be reused
	// as soon as the call returns.
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	_, err := execer.ExecContext(ctx, unsafe.String(unsafe.SliceData(text), len(text)), nil)
	return err
}

// execPrepared runs a single statement with parameters, prepared once per
// connection.
func (s *session) execPrepared(ctx context.Context, text []byte, args []driver.NamedValue) error {
	if err := s.fence(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	stmt, ok := s.prepared[string(text)]
	if !ok {
		var err error
		if stmt, err = s.prepare(ctx, string(text)); err != nil {
			return err
		}
	}
	if !s.keepStmts {
		defer func() { _ = stmt.Close() }()
	}
	execer, ok := stmt.(driver.StmtExecContext)
	if !ok {
		return driver.ErrBadConn
	}
	_, err := execer.ExecContext(ctx, args)
	return err
}

func (s *session) prepare(ctx context.Context, text string) (driver.Stmt, error) {
	preparer, ok := s.conn.(driver.ConnPrepareContext)
	if !ok {
		return nil, driver.ErrBadConn
	}
	stmt, err := preparer.PrepareContext(ctx, text)
	if err != nil || !s.keepStmts {
		return stmt, err
	}
	if len(s.prepared) >= maxStatements {
		// Tables come and go; starting over is rare and needs no bookkeeping.
		for key, old := range s.prepared {
			_ = old.Close()
			delete(s.prepared, key)
		}
	}
	if s.prepared == nil {
		s.prepared = make(map[string]driver.Stmt)
	}
	s.prepared[text] = stmt
	return stmt, nil
}

// recover leaves the session usable after a failed statement: the open
// transaction is rolled back, or the connection given up.
func (s *session) recover(ctx context.Context, cause error) {
	if s.conn == nil {
		return
	}
	if isConnectionError(cause) || s.exec(ctx, []byte("ROLLBACK")) != nil {
		s.drop()
	}
}

// drop closes the connection.
func (s *session) drop() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn, s.prepared = nil, nil
	}
}

// txn writes the statements of one downstream transaction. The caller appends
// each statement to buf and ends it with end. With multi, statements travel
// together, BEGIN and COMMIT included, cut into packets of a bounded size;
// else one by one.
type txn struct {
	ctx     context.Context
	sess    *session
	buf     []byte
	limit   int  // bytes after which what is in buf is sent
	multi   bool // several statements in one packet
	prepare bool // single-row statements that go alone are prepared
	params  bool // so it is in this transaction
	begin   bool // even a single statement gets BEGIN and COMMIT around it
	began   bool // BEGIN has been sent
	pending int  // statements in buf
	args    []driver.NamedValue
	sent    int64 // bytes
}

const (
	beginPrefix  = "BEGIN;"
	commitSuffix = ";COMMIT"
)

// start prepares for a new transaction on the session.
func (t *txn) start(ctx context.Context) error {
	t.ctx, t.buf, t.args = ctx, t.buf[:0], t.args[:0]
	t.began, t.pending, t.sent = false, 0, 0
	t.params = t.prepare && !t.multi
	if t.multi {
		t.buf = append(t.buf, beginPrefix...)
		return nil
	}
	t.began = true
	return t.sess.exec(ctx, []byte("BEGIN"))
}

// next begins a statement: the caller appends its text to buf.
func (t *txn) next() {
	if t.pending > 0 {
		t.buf = append(t.buf, ';')
	}
}

// end finishes the statement.
func (t *txn) end() error {
	t.pending++
	if t.multi {
		if len(t.buf) < t.limit {
			return nil
		}
		return t.flush(t.buf)
	}
	if len(t.args) == 0 {
		return t.flush(t.buf)
	}
	err := t.sess.execPrepared(t.ctx, t.buf, t.args)
	t.sent += int64(len(t.buf))
	t.reset()
	return err
}

// flush sends text, which is buf or a part of it.
func (t *txn) flush(text []byte) error {
	err := t.sess.exec(t.ctx, text)
	t.sent += int64(len(text))
	t.began = true
	t.reset()
	return err
}

func (t *txn) reset() {
	t.buf, t.args, t.pending = t.buf[:0], t.args[:0], 0
}

// commit sends what is left and commits. A transaction of one statement needs
// no BEGIN and COMMIT: the session is in autocommit mode.
func (t *txn) commit() error {
	switch {
	case !t.began && t.pending == 0:
		return nil
	case !t.began && t.pending == 1 && !t.begin:
		return t.flush(t.buf[len(beginPrefix):])
	case t.pending == 0:
		return t.sess.exec(t.ctx, []byte("COMMIT"))
	}
	t.buf = append(t.buf, commitSuffix...)
	return t.flush(t.buf)
}
