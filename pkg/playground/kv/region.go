package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv"
	"github.com/pingcap/tidb/pkg/util/codec"
)

// region is one version of a region: a split or merge makes new ones and leaves the old ones as they are. It is
// unistore's RegionCtx.
type region struct {
	meta     *metapb.Region // never changed
	rawStart []byte
	rawEnd   []byte // empty: no end
	latches  *latches
	diff     int64 // bytes written, counted by unistore and not used

	// What follows is guarded by feed.mu.

	size  regionSize
	saved regionSize // what the journal has
	// maxCommit is at least the commit-ts of every version in the region.
	maxCommit uint64
	// locks counts the region's prewrite locks that will become changes, by start-ts.
	locks map[uint64]int
	subs  []*subscription
	// resolvedAt is the number of the round that resolved was computed for.
	resolvedAt uint64
	resolved   uint64
	// guardAt is the number of the round that guarded was computed for: a bound by prewrites that are under way.
	guardAt uint64
	guarded uint64
}

// regionSize is what a region holds, all versions counted. It is approximate.
type regionSize struct {
	bytes int64
	keys  int64
}

func newRegion(meta *metapb.Region, l *latches) (*region, error) {
	r := &region{meta: meta, latches: l, locks: make(map[uint64]int)}
	var err error
	if r.rawStart, err = decodeKey(meta.StartKey); err != nil {
		return nil, err
	}
	if r.rawEnd, err = decodeKey(meta.EndKey); err != nil {
		return nil, err
	}
	return r, nil
}

// decodeKey turns a memcomparable key into the raw one. Empty stays empty.
func decodeKey(key []byte) ([]byte, error) {
	if len(key) == 0 {
		return nil, nil
	}
	rest, raw, err := codec.DecodeBytes(key, nil)
	if err != nil {
		return nil, fmt.Errorf("key %x is not memcomparable: %w", key, err)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("key %x is not memcomparable: bytes behind its end", key)
	}
	return raw, nil
}

func encodeKey(raw []byte) []byte {
	if len(raw) == 0 {
		return nil
	}
	return codec.EncodeBytes(nil, raw)
}

// Meta implements tikv.RegionCtx.
func (r *region) Meta() *metapb.Region { return r.meta }

// Diff implements tikv.RegionCtx.
func (r *region) Diff() *int64 { return &r.diff }

// RawStart implements tikv.RegionCtx.
func (r *region) RawStart() []byte { return r.rawStart }

// RawEnd implements tikv.RegionCtx. Unistore wants an end always; its own keys start there.
func (r *region) RawEnd() []byte {
	if len(r.rawEnd) == 0 {
		return tikv.InternalKeyPrefix
	}
	return r.rawEnd
}

// AcquireLatches implements tikv.RegionCtx.
func (r *region) AcquireLatches(hashes []uint64) { r.latches.acquire(hashes) }

// ReleaseLatches implements tikv.RegionCtx.
func (r *region) ReleaseLatches(hashes []uint64) { r.latches.release(hashes) }

func (r *region) contains(raw []byte) bool {
	return bytes.Compare(r.rawStart, raw) <= 0 && beforeEnd(raw, r.rawEnd)
}

// beforeEnd reports whether the key is below the end, where an empty end is no bound.
func beforeEnd(key, end []byte) bool { return len(end) == 0 || bytes.Compare(key, end) < 0 }

// regionTable finds regions by ID and by key. Changes hold feed.mu as well, so under feed.mu it can be read without
// its own lock.
type regionTable struct {
	mu     sync.RWMutex
	byID   map[uint64]*region
	sorted []*region // by start key, without holes; replaced, never changed in place
}

func (t *regionTable) get(id uint64) *region {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

func (t *regionTable) all() []*region {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.sorted
}

// indexRaw returns the index of the region with the raw key. The regions must not be empty.
func indexRaw(sorted []*region, raw []byte) int {
	return sort.Search(len(sorted), func(i int) bool { return bytes.Compare(sorted[i].rawStart, raw) > 0 }) - 1
}

// indexEncoded returns the index of the region with the memcomparable key, which may be any bytes.
func indexEncoded(sorted []*region, key []byte) int {
	return sort.Search(len(sorted), func(i int) bool { return bytes.Compare(sorted[i].meta.StartKey, key) > 0 }) - 1
}

// replace exchanges regions for others that cover the same keys.
func (t *regionTable) replace(removed, added []*region) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sorted := make([]*region, 0, len(t.sorted)+len(added)-len(removed))
	for _, r := range t.sorted {
		if !slices.Contains(removed, r) {
			sorted = append(sorted, r)
		}
	}
	sorted = append(sorted, added...)
	slices.SortFunc(sorted, func(a, b *region) int { return bytes.Compare(a.rawStart, b.rawStart) })
	for _, r := range removed {
		delete(t.byID, r.meta.Id)
	}
	for _, r := range added {
		t.byID[r.meta.Id] = r
	}
	t.sorted = sorted
}

// A record of the region journal is a list of regions that are put or deleted together.
const (
	regionPut    = 'P'
	regionDelete = 'D'
)

func appendRegionPut(b []byte, meta *metapb.Region, size regionSize) ([]byte, error) {
	body, err := meta.Marshal()
	if err != nil {
		return nil, err
	}
	b = append(b, regionPut)
	b = binary.AppendUvarint(b, uint64(len(body)))
	b = append(b, body...)
	b = binary.AppendVarint(b, size.bytes)
	return binary.AppendVarint(b, size.keys), nil
}

func appendRegionDelete(b []byte, id uint64) []byte {
	return binary.AppendUvarint(append(b, regionDelete), id)
}

var errRegionRecord = errors.New("malformed region record")

// parseRegionRecord calls put or drop for each part of a record.
func parseRegionRecord(b []byte, put func(*metapb.Region, regionSize) error, drop func(id uint64)) error {
	d := decoder{b: b}
	for len(d.b) > 0 && !d.bad {
		switch d.byte() {
		case regionPut:
			body := d.bytes()
			size := regionSize{bytes: d.varint(), keys: d.varint()}
			if d.bad {
				return errRegionRecord
			}
			meta := &metapb.Region{}
			if err := meta.Unmarshal(body); err != nil {
				return fmt.Errorf("%w: %w", errRegionRecord, err)
			}
			if err := put(meta, size); err != nil {
				return err
			}
		case regionDelete:
			id := d.uvarint()
			if !d.bad {
				drop(id)
			}
		default:
			return errRegionRecord
		}
	}
	if d.bad {
		return errRegionRecord
	}
	return nil
}

// decoder reads fields from the front of b. After a field that is cut off, bad is set and every result is empty.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) skip(n int) {
	if n <= 0 {
		d.bad, d.b = true, nil
		return
	}
	d.b = d.b[n:]
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.skip(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	d.skip(n)
	return v
}

// bytes returns a part of the input.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if d.bad || n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}
