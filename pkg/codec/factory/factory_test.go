package factory_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/codectest"
	"github.com/tidemark/tidemark/pkg/codec/factory"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
)

// TestProtocols has an insert go through every protocol that needs no schema
// registry.
func TestProtocols(t *testing.T) {
	for _, protocol := range []string{
		config.ProtocolOpen, config.ProtocolCanalJSON, config.ProtocolCanal, config.ProtocolMaxwell,
		config.ProtocolDebezium, config.ProtocolSimple,
	} {
		t.Run(protocol, func(t *testing.T) {
			o := codec.Options{Protocol: protocol, MaxMessageBytes: 1 << 20, OutputOldValue: true}
			e, err := factory.NewEncoder(t.Context(), o)
			require.NoError(t, err)
			d, err := factory.NewDecoder(t.Context(), o)
			require.NoError(t, err)
			ev := codectest.Changes(t)[0]
			if b, ok := e.(codec.Bootstrapper); ok {
				m, err := b.Bootstrap(t.Context(), "topic", ev.Table)
				require.NoError(t, err)
				_, err = d.Decode(t.Context(), m.Key, m.Value)
				require.NoError(t, err)
			}
			messages := codectest.Encode(t, e, ev)
			require.Len(t, messages, 1)
			require.Equal(t, 1, messages[0].Rows)
			events, err := d.Decode(t.Context(), messages[0].Key, messages[0].Value)
			require.NoError(t, err)
			require.Len(t, events, 1)
			require.Equal(t, codec.EventRow, events[0].Kind)
			require.Equal(t, "test.item", events[0].Schema+"."+events[0].Table)
			require.Equal(t, "pen", codectest.CellValues(events[0].Row.New)["name"])
		})
	}
}

func TestErrors(t *testing.T) {
	o := codec.Options{Protocol: config.ProtocolCSV}
	e, err := factory.NewEncoder(t.Context(), o)
	require.ErrorIs(t, err, errors.ErrSinkUnknownProtocol)
	require.Nil(t, e)
	_, err = factory.NewDecoder(t.Context(), o)
	require.ErrorIs(t, err, errors.ErrSinkUnknownProtocol)

	o = codec.Options{Protocol: config.ProtocolOpen, LargeMessage: codec.LargeMessageOptions{Compression: "zip"}}
	e, err = factory.NewEncoder(t.Context(), o)
	require.ErrorIs(t, err, errors.ErrInvalidReplicaConfig)
	require.True(t, e == nil, "no nil pointer in an interface")
}
