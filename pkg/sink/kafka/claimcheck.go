package kafka

import (
	"context"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
)

// openClaimCheck opens the storage of messages that are too large.
func (s *Sink) openClaimCheck(_ context.Context) error {
	if s.o.codec.LargeMessage.Option != config.LargeMessageClaimCheck {
		return nil
	}
	return errors.ErrSinkInvalidConfig.Msg("claim-check is not supported")
}
