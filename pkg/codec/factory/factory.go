// Package factory makes the encoder or decoder that a protocol's name stands for.
package factory

import (
	"context"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/avro"
	"github.com/tidemark/tidemark/pkg/codec/canal"
	"github.com/tidemark/tidemark/pkg/codec/canaljson"
	"github.com/tidemark/tidemark/pkg/codec/debezium"
	"github.com/tidemark/tidemark/pkg/codec/maxwell"
	"github.com/tidemark/tidemark/pkg/codec/open"
	"github.com/tidemark/tidemark/pkg/codec/simple"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
)

// NewEncoder makes an encoder. Encoders of one sink share nothing. Where the
// protocol has a schema registry, it is asked until it answers or ctx ends; the
// encoder itself may live longer than ctx.
func NewEncoder(ctx context.Context, o codec.Options) (codec.Encoder, error) {
	switch o.Protocol {
	case config.ProtocolAvro:
		return encoder(avro.New(ctx, o))
	case config.ProtocolSimple:
		return encoder(simple.New(o))
	case config.ProtocolDebezium:
		return encoder(debezium.New(o))
	case config.ProtocolCanalJSON:
		return encoder(canaljson.New(o))
	case config.ProtocolOpen:
		return encoder(open.New(o))
	case config.ProtocolCanal:
		return canal.New(o), nil
	case config.ProtocolMaxwell:
		return maxwell.New(o), nil
	default:
		return nil, errors.ErrSinkUnknownProtocol.New(o.Protocol)
	}
}

// encoder keeps a nil pointer from becoming an Encoder.
func encoder[E codec.Encoder](e E, err error) (codec.Encoder, error) {
	if err != nil {
		return nil, err
	}
	return e, nil
}

// decoder does the same for decoders.
func decoder[D codec.Decoder](d D, err error) (codec.Decoder, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

// NewDecoder makes a decoder for what NewEncoder's encoder writes.
func NewDecoder(_ context.Context, o codec.Options) (codec.Decoder, error) {
	switch o.Protocol {
	case config.ProtocolAvro:
		return decoder(avro.NewDecoder(o))
	case config.ProtocolSimple:
		return decoder(simple.NewDecoder(o))
	case config.ProtocolDebezium:
		return debezium.NewDecoder(o), nil
	case config.ProtocolCanalJSON:
		return canaljson.NewDecoder(o), nil
	case config.ProtocolOpen:
		return open.NewDecoder(o), nil
	case config.ProtocolCanal:
		return canal.NewDecoder(), nil
	case config.ProtocolMaxwell:
		return maxwell.NewDecoder(), nil
	default:
		return nil, errors.ErrSinkUnknownProtocol.New(o.Protocol)
	}
}
