package factory

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/sink"
	"github.com/tidemark/tidemark/pkg/sink/blackhole"
)

func TestScheme(t *testing.T) {
	tests := []struct {
		uri  string
		code string
		text string
	}{
		{uri: "blackhole://"},
		{uri: "BlackHole://host/path?protocol=any"},
		{uri: "nfs:///tmp", code: "CDC:ErrSinkURIInvalid", text: "the sink scheme (nfs) is not supported"},
		{uri: "", code: "CDC:ErrSinkURIInvalid", text: "the sink scheme () is not supported"},
		{uri: "://user:secret@h\x7f", code: "CDC:ErrSinkURIInvalid", text: "sink uri invalid 'xxxxx'"},
		{uri: "mysql://h/?worker-count=-1", code: "CDC:ErrMySQLInvalidConfig", text: "worker-count"},
	}
	for _, test := range tests {
		t.Run(test.uri, func(t *testing.T) {
			o := sink.Options{URI: config.SinkURI(test.uri), Config: &config.ReplicaConfig{}}
			s, err := New(context.Background(), o)
			probeErr := Probe(context.Background(), o)
			if test.code == "" {
				require.NoError(t, err)
				require.NoError(t, probeErr)
				require.IsType(t, &blackhole.Sink{}, s)
				s.Close()
				return
			}
			for _, err := range []error{err, probeErr} {
				require.Equal(t, test.code, errors.CodeOf(err))
				require.ErrorContains(t, err, test.text)
				require.NotContains(t, err.Error(), "secret")
			}
		})
	}
}
