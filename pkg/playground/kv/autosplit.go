package kv

import (
	"bytes"
	"context"
	"time"

	"github.com/pingcap/badger"
	"go.uber.org/zap"
)

// splitter splits regions that have grown too large.
type splitter struct {
	db       *engine
	regions  *regionMap
	maxBytes int64 // negative: no limit
	maxKeys  int64
	logger   *zap.Logger
}

func (s *splitter) run(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := s.splitLarge(ctx); err != nil && ctx.Err() == nil {
			s.logger.Warn("regions were not split", zap.Error(err))
		}
		if err := s.regions.saveSizes(s.margin()); err != nil {
			s.logger.Warn("sizes of regions were not saved", zap.Error(err))
		}
	}
}

func (s *splitter) tooLarge(size regionSize) bool {
	return s.maxBytes >= 0 && size.bytes > s.maxBytes || s.maxKeys >= 0 && size.keys > s.maxKeys
}

// margin is how much of a size a kill may lose.
func (s *splitter) margin() regionSize {
	const part = 8
	margin := regionSize{bytes: DefaultRegionMaxBytes / part, keys: DefaultRegionMaxKeys / part}
	if s.maxBytes >= 0 {
		margin.bytes = s.maxBytes / part
	}
	if s.maxKeys >= 0 {
		margin.keys = s.maxKeys / part
	}
	return margin
}

// splitLarge measures the regions that seem too large and splits those that are.
func (s *splitter) splitLarge(ctx context.Context) error {
	for _, r := range s.regions.table.all() {
		if !s.tooLarge(s.regions.feed.sizeOf(r)) {
			continue
		}
		size, keys := s.measure(ctx, r)
		if err := ctx.Err(); err != nil {
			return err
		}
		s.regions.setSize(r, size)
		if !s.tooLarge(size) || len(keys) == 0 {
			continue
		}
		parts, err := s.regions.split(ctx, keys)
		if err != nil {
			return err
		}
		s.logger.Info("region was split by size", zap.Uint64("region", r.meta.Id),
			zap.Int64("bytes", size.bytes), zap.Int64("keys", size.keys), zap.Int("parts", len(parts)))
	}
	return nil
}

// measure counts all versions of a region and picks the keys at which to split it, each part about two thirds of what
// is allowed.
func (s *splitter) measure(ctx context.Context, r *region) (size regionSize, keys [][]byte) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	opts := badger.DefaultIteratorOptions
	opts.AllVersions = true
	it := txn.NewIterator(opts)
	defer it.Close()
	var part regionSize
	var last []byte
	for it.Seek(r.rawStart); it.Valid() && beforeEnd(it.Item().Key(), r.RawEnd()); it.Next() {
		item := it.Item()
		if _, _, ok := dataVersion(item.UserMeta(), item.Version()); !ok {
			continue
		}
		if s.partIsFull(part) && !bytes.Equal(item.Key(), last) {
			keys = append(keys, item.KeyCopy(nil))
			part = regionSize{}
		}
		last = append(last[:0], item.Key()...)
		n := int64(len(item.Key()) + item.ValueSize())
		size = regionSize{bytes: size.bytes + n, keys: size.keys + 1}
		part = regionSize{bytes: part.bytes + n, keys: part.keys + 1}
		if size.keys%scanCheckKeys == 0 && ctx.Err() != nil {
			return size, nil
		}
	}
	return size, keys
}

func (s *splitter) partIsFull(part regionSize) bool {
	return s.maxBytes >= 0 && part.bytes >= s.maxBytes*2/3 || s.maxKeys >= 0 && part.keys >= s.maxKeys*2/3
}
