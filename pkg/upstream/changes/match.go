package changes

import (
	"unsafe"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// matcher joins the prewrites and commits of one registered region into
// committed changes. It belongs to the goroutine that receives the stream.
// While history is read nearly every row is self-contained and passes through
// without any state.
type matcher struct {
	// startTs is where the registration began: commits at or below it were
	// delivered before, or are not wanted.
	startTs     uint64
	initialized bool
	prewrites   map[txnKey]wireRow
	most        int   // largest size of prewrites since it was made
	held        int64 // bytes of all rows that are kept here
	// Until the scan of history ends, a commit without its prewrite may belong
	// to a row that the scan has sent or will send: it waits here.
	commits   []wireRow
	rollbacks []wireRow
}

// shrinkFrom is the size from which an emptied map of prewrites is dropped: a
// map keeps the memory of its largest moment.
const shrinkFrom = 1024

// keptRow is what a row that is kept takes beside its part of the message, in
// bytes: a place in the map, which is never full.
const keptRow = 160

func cost(r *wireRow) int64 { return int64(len(r.rec)) + keptRow }

// txnKey names a row of a transaction. The key's bytes belong to the row that
// is kept beside it, so no copy is made.
type txnKey struct {
	startTs uint64
	key     string
}

func keyOf(r *wireRow) txnKey {
	k := r.key()
	return txnKey{r.startTs, unsafe.String(unsafe.SliceData(k), len(k))}
}

// apply takes one row and appends what is committed by it to out. The error
// is final for the subscription.
func (m *matcher) apply(r *wireRow, out []model.RawChange) ([]model.RawChange, error) {
	switch r.typ {
	case rowCommitted:
		if err := fit(r); err != nil {
			return out, err
		}
		return m.emit(r, r.commitTs, out)
	case rowPrewrite:
		if err := fit(r); err != nil {
			return out, err
		}
		m.prewrite(r)
		return out, nil
	case rowCommit:
		return m.commit(r, out)
	case rowRollback:
		if m.initialized {
			m.forget(keyOf(r))
		} else {
			m.rollbacks = append(m.rollbacks, *r)
			m.held += cost(r)
		}
		return out, nil
	case rowInitialized:
		return m.initialize(out)
	}
	return out, errors.ErrUnknownKVEventType.New("row type", r.typ)
}

// fit checks the operation; a deletion has no value.
func fit(r *wireRow) error {
	switch r.op {
	case opPut:
		return nil
	case opDelete:
		r.valueLen = 0
		return nil
	}
	return errors.ErrUnknownKVEventType.New("operation", r.op)
}

// emit appends the change unless it is not wanted. A row that is put without
// a value would look like a deletion.
func (m *matcher) emit(r *wireRow, commitTs uint64, out []model.RawChange) ([]model.RawChange, error) {
	if commitTs <= m.startTs {
		return out, nil
	}
	if r.op == opPut && r.valueLen == 0 {
		return out, notMatched(r, commitTs, "PUT without value")
	}
	return append(out, r.change(commitTs)), nil
}

func notMatched(r *wireRow, commitTs uint64, what string) error {
	return errors.ErrPrewriteNotMatch.New(hexKey(r.key()), r.startTs, commitTs, "COMMIT", what)
}

// prewrite keeps the row's values for its commit. Large transactions renew
// their locks without a value, in the same generation: those must not hide
// what was already seen.
func (m *matcher) prewrite(r *wireRow) {
	if m.prewrites == nil {
		m.prewrites = make(map[txnKey]wireRow)
	}
	k := keyOf(r)
	if old, ok := m.prewrites[k]; ok {
		renewal := r.valueLen == 0 && (r.op == opPut || r.generation == old.generation)
		if renewal || r.generation < old.generation {
			return
		}
		// The map would keep the first key's bytes alive with the new value.
		delete(m.prewrites, k)
		m.held -= cost(&old)
	}
	m.prewrites[k] = *r
	m.held += cost(r)
	m.most = max(m.most, len(m.prewrites))
}

func (m *matcher) forget(k txnKey) {
	if p, ok := m.prewrites[k]; ok {
		m.take(k, &p)
	}
}

// take ends the wait of a prewrite that is there.
func (m *matcher) take(k txnKey, p *wireRow) {
	delete(m.prewrites, k)
	m.held -= cost(p)
	if len(m.prewrites) == 0 && m.most >= shrinkFrom {
		m.prewrites, m.most = nil, 0
	}
}

func (m *matcher) commit(r *wireRow, out []model.RawChange) ([]model.RawChange, error) {
	k := keyOf(r)
	p, ok := m.prewrites[k]
	// A value-less or early generation may still be completed by the scan.
	if !m.initialized && (!ok || p.valueLen == 0 || p.generation != 0) {
		m.commits = append(m.commits, *r)
		m.held += cost(r)
		return out, nil
	}
	if !ok {
		return out, notMatched(r, r.commitTs, "")
	}
	m.take(k, &p)
	return m.emit(&p, r.commitTs, out)
}

// initialize ends the scan of history: waiting commits find their prewrite
// now, or had been part of the scan.
func (m *matcher) initialize(out []model.RawChange) ([]model.RawChange, error) {
	m.initialized = true
	for i := range m.commits {
		c := &m.commits[i]
		m.held -= cost(c)
		k := keyOf(c)
		p, ok := m.prewrites[k]
		if !ok {
			continue
		}
		m.take(k, &p)
		if p.op == opPut && p.valueLen == 0 {
			continue // only a renewal of its lock was seen: the scan had the row
		}
		var err error
		if out, err = m.emit(&p, c.commitTs, out); err != nil {
			return out, err
		}
	}
	for i := range m.rollbacks {
		m.held -= cost(&m.rollbacks[i])
		m.forget(keyOf(&m.rollbacks[i]))
	}
	m.commits, m.rollbacks = nil, nil
	return out, nil
}
