package freeport

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFind(t *testing.T) {
	seen := map[int]bool{}
	for range 20 {
		port, err := Find("127.0.0.1")
		require.NoError(t, err)
		require.False(t, seen[port], "it is in use")
		require.True(t, port >= first && port < last)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		require.NoError(t, err)
		defer func() { _ = l.Close() }()
		seen[port] = true
	}
	_, err := Find("192.0.2.1") // no address of this machine
	require.Error(t, err)
}
