package kafka

import (
	"github.com/IBM/sarama"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/sink"
)

// ReaderOptions are what somebody needs who reads what a changefeed writes.
type ReaderOptions struct {
	Brokers []string
	Topic   string         // the default topic
	Client  *sarama.Config // with the changefeed's logins
	Codec   codec.Options
	// ClaimCheck is where messages lie that were too large; "" if nowhere.
	ClaimCheck config.SinkURI
}

// ForReader derives them from the options of the changefeed's sink, without
// connecting. The errors are New's for bad options.
func ForReader(so sink.Options) (*ReaderOptions, error) {
	o, err := parseOptions(so)
	if err != nil {
		return nil, err
	}
	if !o.versionGiven {
		o.version = sarama.V2_4_0_0
	}
	client, err := o.client()
	if err != nil {
		return nil, err
	}
	return &ReaderOptions{Brokers: o.brokers, Topic: o.topic, Client: client, Codec: o.codec, ClaimCheck: o.claimCheckURI}, nil
}
