package kafka

import (
	"encoding/hex"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// corrupted tells of a row whose checksum does not fit, and fails where the
// changefeed is to stop then.
func (s *Sink) corrupted(t *model.Table, c *model.RawChange) error {
	s.logger.Warn("the checksum of a row does not fit it",
		zap.String("table", t.Schema+"."+t.Name), zap.String("key", hex.EncodeToString(c.Key())),
		zap.Uint64("commitTs", c.CommitTs), zap.Bool("stop", s.o.failCorrupted))
	if s.o.failCorrupted {
		id := s.o.codec.Changefeed
		return errors.ErrCorruptedDataMutation.New(id.Namespace, id.ID)
	}
	return nil
}
