package changes

import (
	"fmt"
	"unsafe"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// matcher joins the prewrites and commits of one registered region into
// committed changes. It belongs to the goroutine that receives the stream.
type matcher struct {
	startTs     uint64 // commits at or below it are not wanted
	initialized bool
	prewrites   map[txnKey]wireRow
	// Until the scan of history ends, a commit without its prewrite may belong
	// to a row that the scan has sent or will send: it waits here.
	commits   []wireRow
	rollbacks []wireRow
}

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
		if r.op != opPut && r.op != opDelete {
			return out, errors.ErrUnknownKVEventType.New(fmt.Sprint(r.op), "COMMITTED")
		}
		if r.commitTs > m.startTs {
			out = append(out, r.change(r.commitTs))
		}
		return out, nil
	case rowPrewrite:
		if r.op != opPut && r.op != opDelete {
			return out, errors.ErrUnknownKVEventType.New(fmt.Sprint(r.op), "PREWRITE")
		}
		m.prewrite(r)
		return out, nil
	case rowCommit:
		return m.commit(r, out)
	case rowRollback:
		if m.initialized {
			delete(m.prewrites, keyOf(r))
		} else {
			m.rollbacks = append(m.rollbacks, *r)
		}
		return out, nil
	case rowInitialized:
		return m.initialize(out), nil
	}
	return out, errors.ErrUnknownKVEventType.New(fmt.Sprint(r.typ), "row")
}

// prewrite keeps the row's values for its commit. Large transactions renew
// their locks without a value: those must not hide the value already seen.
func (m *matcher) prewrite(r *wireRow) {
	if m.prewrites == nil {
		m.prewrites = make(map[txnKey]wireRow)
	}
	k := keyOf(r)
	if old, ok := m.prewrites[k]; ok {
		if r.valueLen == 0 || r.generation < old.generation {
			return
		}
		// The map would keep the first key's bytes alive with the new value.
		delete(m.prewrites, k)
	}
	m.prewrites[k] = *r
}

func (m *matcher) commit(r *wireRow, out []model.RawChange) ([]model.RawChange, error) {
	k := keyOf(r)
	p, ok := m.prewrites[k]
	if !m.initialized && (!ok || p.valueLen == 0 || p.generation != 0) {
		m.commits = append(m.commits, *r)
		return out, nil
	}
	if !ok {
		return out, errors.ErrPrewriteNotMatch.New(fmt.Sprintf("%X", k.key), r.startTs, r.commitTs, "COMMIT", "")
	}
	delete(m.prewrites, k)
	if r.commitTs > m.startTs {
		out = append(out, p.change(r.commitTs))
	}
	return out, nil
}

// initialize ends the scan of history: waiting commits find their prewrite
// now, or had been part of the scan.
func (m *matcher) initialize(out []model.RawChange) []model.RawChange {
	m.initialized = true
	for i := range m.commits {
		r := &m.commits[i]
		k := keyOf(r)
		p, ok := m.prewrites[k]
		if !ok {
			continue
		}
		delete(m.prewrites, k)
		if r.commitTs > m.startTs {
			out = append(out, p.change(r.commitTs))
		}
	}
	for i := range m.rollbacks {
		delete(m.prewrites, keyOf(&m.rollbacks[i]))
	}
	m.commits, m.rollbacks = nil, nil
	return out
}
