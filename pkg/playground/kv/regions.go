package kv

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/pingcap/kvproto/pkg/metapb"
)

// regionJournalMin is the size from which on the region journal is rewritten when it is mostly history.
const regionJournalMin = 4 << 20

// regionMap owns the regions: it changes them, one change at a time, and keeps them in a journal.
type regionMap struct {
	feed    *feed
	table   *regionTable
	latches *latches
	storeID uint64
	allocID func(ctx context.Context) (uint64, error)

	mu      sync.Mutex // serialises changes
	journal *journal
}

// openRegions reads the regions back; there are none in a new store.
func openRegions(path string, l *latches) (*journal, *regionTable, error) {
	table := &regionTable{byID: make(map[uint64]*region)}
	put := func(meta *metapb.Region, size regionSize) error {
		r, err := newRegion(meta, l)
		if err != nil {
			return err
		}
		r.size, r.saved = size, size
		table.byID[meta.Id] = r
		return nil
	}
	drop := func(id uint64) { delete(table.byID, id) }
	j, err := openJournal(path, func(record []byte) error { return parseRegionRecord(record, put, drop) })
	if err != nil {
		return nil, nil, err
	}
	for _, r := range table.byID {
		table.sorted = append(table.sorted, r)
	}
	slices.SortFunc(table.sorted, func(a, b *region) int { return bytes.Compare(a.rawStart, b.rawStart) })
	return j, table, nil
}

// bootstrap makes the first region, which holds all keys.
func (m *regionMap) bootstrap(ctx context.Context) error {
	meta := &metapb.Region{RegionEpoch: &metapb.RegionEpoch{ConfVer: 1, Version: 1}}
	if err := m.fillIDs(ctx, meta); err != nil {
		return err
	}
	r, err := newRegion(meta, m.latches)
	if err != nil {
		return err
	}
	return m.exchange(nil, []*region{r}, nil)
}

// fillIDs gives a region its ID and its peer.
func (m *regionMap) fillIDs(ctx context.Context, meta *metapb.Region) error {
	var err error
	if meta.Id, err = m.allocID(ctx); err != nil {
		return fmt.Errorf("allocate region ID: %w", err)
	}
	peer, err := m.allocID(ctx)
	if err != nil {
		return fmt.Errorf("allocate peer ID: %w", err)
	}
	meta.Peers = []*metapb.Peer{{Id: peer, StoreId: m.storeID}}
	return nil
}

// exchange makes a change last and visible.
func (m *regionMap) exchange(removed, added []*region, current []*metapb.Region) error {
	record := m.journal.begin()
	for _, r := range removed {
		record = appendRegionDelete(record, r.meta.Id)
	}
	for _, r := range added {
		var err error
		if record, err = appendRegionPut(record, r.meta, r.size); err != nil {
			return err
		}
	}
	write := func() error { return m.journal.append(record) }
	if err := m.feed.swap(removed, added, current, write); err != nil {
		return err
	}
	return m.compact()
}

// split splits regions at raw keys and returns the regions that hold them now, in order. Keys that are boundaries
// already change nothing.
func (m *regionMap) split(ctx context.Context, keys [][]byte) ([]*region, error) {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, bytes.Compare)
	keys = slices.CompactFunc(keys, bytes.Equal)
	m.mu.Lock()
	defer m.mu.Unlock()
	var result []*region
	for len(keys) > 0 {
		sorted := m.table.all()
		r := sorted[indexRaw(sorted, keys[0])]
		n := 1
		for n < len(keys) && r.contains(keys[n]) {
			n++
		}
		parts, err := m.splitOne(ctx, r, keys[:n])
		if err != nil {
			return result, err
		}
		result = append(result, parts...)
		keys = keys[n:]
	}
	return result, nil
}

// splitOne splits one region at keys that it contains. The last part keeps the region's ID, as in TiKV.
func (m *regionMap) splitOne(ctx context.Context, old *region, keys [][]byte) ([]*region, error) {
	if len(keys) > 0 && bytes.Equal(keys[0], old.rawStart) {
		keys = keys[1:]
	}
	if len(keys) == 0 {
		return []*region{old}, nil
	}
	size := m.feed.sizeOf(old)
	n := int64(len(keys) + 1)
	part := regionSize{bytes: size.bytes / n, keys: size.keys / n}
	epoch := *old.meta.RegionEpoch
	epoch.Version += uint64(len(keys))
	start := old.meta.StartKey
	var added []*region
	for i := range n {
		meta := &metapb.Region{StartKey: start, EndKey: old.meta.EndKey, RegionEpoch: &metapb.RegionEpoch{
			ConfVer: epoch.ConfVer, Version: epoch.Version,
		}}
		if i < n-1 {
			meta.EndKey = encodeKey(keys[i])
			if err := m.fillIDs(ctx, meta); err != nil {
				return nil, err
			}
		} else {
			meta.Id, meta.Peers = old.meta.Id, old.meta.Peers
		}
		r, err := newRegion(meta, m.latches)
		if err != nil {
			return nil, err
		}
		r.size, r.saved = part, part
		added = append(added, r)
		start = meta.EndKey
	}
	return added, m.exchange([]*region{old}, added, metas(added))
}

// merge merges a region into its neighbour, which keeps its ID.
func (m *regionMap) merge(source, target uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, to := m.table.get(source), m.table.get(target)
	switch {
	case from == nil:
		return fmt.Errorf("there is no region %d", source)
	case to == nil:
		return fmt.Errorf("there is no region %d", target)
	}
	low, high := from, to
	if bytes.Compare(low.rawStart, high.rawStart) > 0 {
		low, high = high, low
	}
	if low == high || len(low.rawEnd) == 0 || !bytes.Equal(low.rawEnd, high.rawStart) {
		return fmt.Errorf("the regions %d and %d are not neighbours", source, target)
	}
	meta := &metapb.Region{
		Id: to.meta.Id, Peers: to.meta.Peers, StartKey: low.meta.StartKey, EndKey: high.meta.EndKey,
		RegionEpoch: &metapb.RegionEpoch{
			ConfVer: max(from.meta.RegionEpoch.ConfVer, to.meta.RegionEpoch.ConfVer),
			Version: max(from.meta.RegionEpoch.Version, to.meta.RegionEpoch.Version) + 1,
		},
	}
	r, err := newRegion(meta, m.latches)
	if err != nil {
		return err
	}
	a, b := m.feed.sizeOf(from), m.feed.sizeOf(to)
	r.size = regionSize{bytes: a.bytes + b.bytes, keys: a.keys + b.keys}
	r.saved = r.size
	return m.exchange([]*region{from, to}, []*region{r}, nil)
}

// setSize replaces what is known of a region's size.
func (m *regionMap) setSize(r *region, size regionSize) {
	m.feed.mu.Lock()
	defer m.feed.mu.Unlock()
	r.size = size
}

// saveSizes keeps the sizes of regions that changed by more than a margin, so that little of it is lost by a kill.
func (m *regionMap) saveSizes(margin regionSize) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	record := m.journal.begin()
	empty := len(record)
	for _, r := range m.table.all() {
		size, changed := m.feed.unsavedSize(r, margin)
		if !changed {
			continue
		}
		var err error
		if record, err = appendRegionPut(record, r.meta, size); err != nil {
			return err
		}
	}
	if len(record) == empty {
		return nil
	}
	if err := m.journal.append(record); err != nil {
		return err
	}
	return m.compact()
}

// compact rewrites the journal when most of it is history.
func (m *regionMap) compact() error {
	sorted := m.table.all()
	const typical = 128
	if m.journal.size < max(regionJournalMin, int64(len(sorted))*typical*lockJournalRatio) {
		return nil
	}
	return m.rewrite()
}

// rewrite writes the journal anew, with the sizes of now.
func (m *regionMap) rewrite() error {
	return m.journal.rewrite(func(emit func([]byte) error) error {
		var record []byte
		for _, r := range m.table.all() {
			var err error
			if record, err = appendRegionPut(record, r.meta, m.feed.sizeOf(r)); err != nil {
				return err
			}
		}
		return emit(record)
	})
}

// close writes the regions with their sizes and closes the journal.
func (m *regionMap) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.rewrite(); err != nil {
		return fmt.Errorf("write regions: %w", err)
	}
	return m.journal.close()
}

func (f *feed) sizeOf(r *region) regionSize {
	f.mu.Lock()
	defer f.mu.Unlock()
	return r.size
}

// unsavedSize returns the size of a region, and whether it is to be saved. It counts as saved then.
func (f *feed) unsavedSize(r *region, margin regionSize) (regionSize, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	bytes, keys := r.size.bytes-r.saved.bytes, r.size.keys-r.saved.keys
	if max(bytes, -bytes) <= margin.bytes && max(keys, -keys) <= margin.keys {
		return r.size, false
	}
	r.saved = r.size
	return r.size, true
}

func metas(regions []*region) []*metapb.Region {
	list := make([]*metapb.Region, len(regions))
	for i, r := range regions {
		list[i] = r.meta
	}
	return list
}

// scan returns regions that overlap [start, end), keys encoded, at most limit of them.
func (t *regionTable) scan(start, end []byte, limit int) []*region {
	if limit <= 0 {
		limit = math.MaxInt
	}
	sorted := t.all()
	first := max(indexEncoded(sorted, start), 0)
	last := first
	for last < len(sorted) && last-first < limit && (last == first || beforeEnd(sorted[last].meta.StartKey, end)) {
		last++
	}
	return sorted[first:last]
}
