package sorter

import (
	"sync"

	"github.com/tidemark/tidemark/pkg/model"
)

const (
	slabSize     = 128 << 10
	pooledRowCap = 4096 // greater row slices are left to the garbage collector
)

// Limits say when a batch is full.
type Limits struct {
	Rows  int
	Bytes int64
	// WholeTxns keeps rows with one commit-ts together, whatever it takes.
	WholeTxns bool
}

// Batch is a run of rows in commit order that left a span's buffer. Its
// memory counts against the changefeed's quota until Release.
type Batch struct {
	Rows  []model.RawChange
	Bytes int64 // what the rows are charged with
	// LastOfTxn says that no further row of the span has the last row's commit-ts.
	LastOfTxn bool

	feed  *Feed
	slabs [][]byte // hold rows that were read from disk
}

// Release gives the memory back. Neither the rows nor their bytes may be used
// afterwards.
func (b *Batch) Release() {
	b.feed.released(b.Bytes)
	pools := &b.feed.engine.pools
	for i, s := range b.slabs {
		if cap(s) == slabSize {
			pools.slabs.Put((*[slabSize]byte)(s[:slabSize]))
		}
		b.slabs[i] = nil
	}
	b.slabs = b.slabs[:0]
	clear(b.Rows)
	b.Rows = b.Rows[:0]
	b.Bytes, b.LastOfTxn, b.feed = 0, false, nil
	if cap(b.Rows) <= pooledRowCap {
		pools.batches.Put(b)
	}
}

// record returns room for n bytes that lives as long as the batch.
func (b *Batch) record(n int) []byte {
	last := len(b.slabs) - 1
	if last < 0 || cap(b.slabs[last])-len(b.slabs[last]) < n {
		if n > slabSize/4 {
			return make([]byte, n)
		}
		b.slabs = append(b.slabs, b.feed.engine.pools.slab())
		last++
	}
	s := b.slabs[last]
	b.slabs[last] = s[:len(s)+n]
	return s[len(s) : len(s)+n : len(s)+n]
}

// pools recycle what rows pass through.
type pools struct {
	chunks  chunkPool
	slabs   sync.Pool
	batches sync.Pool
}

func (p *pools) slab() []byte {
	if s, ok := p.slabs.Get().(*[slabSize]byte); ok {
		return s[:0]
	}
	return new([slabSize]byte)[:0]
}

func (p *pools) batch(f *Feed) *Batch {
	b, ok := p.batches.Get().(*Batch)
	if !ok {
		b = &Batch{}
	}
	b.feed = f
	return b
}
