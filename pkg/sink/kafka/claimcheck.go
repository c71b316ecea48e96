package kafka

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/objstore"
	"github.com/tidemark/tidemark/pkg/sink"
)

// openClaimCheck opens the storage of messages that are too large, if the
// changefeed has one.
func (s *Sink) openClaimCheck(ctx context.Context, so sink.Options) error {
	if s.o.codec.LargeMessage.Option != config.LargeMessageClaimCheck {
		return nil
	}
	store, err := objstore.OpenClaimCheck(ctx, s.o.claimCheckURI)
	if err != nil {
		return err
	}
	s.closeClaimCheck = store.Close
	s.o.codec.ClaimCheck = newMeteredStore(store, so.Registerer, so.Changefeed)
	return nil
}

// meteredStore counts what goes to a store.
type meteredStore struct {
	codec.ClaimCheckStore
	took  prometheus.Observer
	count prometheus.Counter
}

func newMeteredStore(s codec.ClaimCheckStore, r prometheus.Registerer, id model.ChangefeedID) *meteredStore {
	return &meteredStore{
		ClaimCheckStore: s,
		took: sink.HistogramVec(r, "mq_claim_check_send_message_duration", "Seconds per claim-check file.", sink.FeedLabels(),
			prometheus.ExponentialBuckets(0.001, 2, 20)).WithLabelValues(id.Namespace, id.ID),
		count: sink.CounterVec(r, "mq_claim_check_send_message_count", "Claim-check files.", sink.FeedLabels()).
			WithLabelValues(id.Namespace, id.ID),
	}
}

// Put writes a file and counts it.
func (m *meteredStore) Put(ctx context.Context, name string, content []byte) (string, error) {
	start := time.Now()
	location, err := m.ClaimCheckStore.Put(ctx, name, content)
	if err == nil {
		m.took.Observe(time.Since(start).Seconds())
		m.count.Inc()
	}
	return location, err
}
