// Package factory makes the sink that the scheme of an address names.
package factory

import (
	"context"
	"net/url"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/blackhole"
	"github.com/tidemark/tidemark/pkg/sink/kafka"
	"github.com/tidemark/tidemark/pkg/sink/mysql"
)

// New connects the sink of a changefeed. Its errors have the codes that clients
// of the API know.
func New(ctx context.Context, o sink.Options) (sink.Sink, error) {
	kind, err := kindOf(o.URI)
	if err != nil {
		return nil, err
	}
	switch kind {
	case config.SinkBlackhole:
		return blackhole.New(o), nil
	case config.SinkMySQL:
		return mysql.New(ctx, o)
	case config.SinkKafka:
		return kafka.New(ctx, o)
	default:
		return nil, unsupported(o.URI)
	}
}

// Probe tells whether New would succeed, and leaves nothing open.
func Probe(ctx context.Context, o sink.Options) error {
	kind, err := kindOf(o.URI)
	if err != nil {
		return err
	}
	switch kind {
	case config.SinkBlackhole:
		return nil
	case config.SinkMySQL:
		return mysql.Probe(ctx, o)
	case config.SinkKafka:
		return kafka.Probe(ctx, o)
	default:
		return unsupported(o.URI)
	}
}

func kindOf(uri config.SinkURI) (config.SinkKind, error) {
	u, err := parse(uri)
	if err != nil {
		return config.SinkUnknown, err
	}
	return config.KindOfScheme(u.Scheme), nil
}

// parse hides the text of a URI that is none: it may hold a password.
func parse(uri config.SinkURI) (*url.URL, error) {
	u, err := url.Parse(uri.Reveal())
	if err != nil {
		return nil, errors.ErrSinkURIInvalid.New(uri.String())
	}
	return u, nil
}

func unsupported(uri config.SinkURI) error {
	u, err := parse(uri)
	if err != nil {
		return err
	}
	return errors.ErrSinkURIInvalid.Msg("the sink scheme (%s) is not supported", u.Scheme)
}
