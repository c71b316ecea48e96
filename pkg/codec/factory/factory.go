// Package factory makes the encoder or decoder that a protocol's name stands for.
package factory

import (
	"context"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/errors"
)

// NewEncoder makes an encoder. Encoders of one sink share nothing, but each may
// keep a connection to a schema registry until ctx ends.
func NewEncoder(_ context.Context, o codec.Options) (codec.Encoder, error) {
	switch o.Protocol {
	default:
		return nil, errors.ErrSinkUnknownProtocol.New(o.Protocol)
	}
}

// NewDecoder makes a decoder for what NewEncoder's encoder writes.
func NewDecoder(_ context.Context, o codec.Options) (codec.Decoder, error) {
	switch o.Protocol {
	default:
		return nil, errors.ErrSinkUnknownProtocol.New(o.Protocol)
	}
}
