// Package freeport finds ports for servers that must be told theirs before
// they listen.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports that are offered. They lie below those that systems give to
// outgoing connections (from 32768 on Linux, from 49152 elsewhere), which could
// otherwise take the port before its server does, or while it restarts.
const (
	first = 15000
	last  = 32000

	attempts = 100
)

// Find returns a port of the host that nobody listens on at this moment. The
// error is that of the last port that was tried.
func Find(host string) (int, error) {
	var errs error
	for range attempts {
		port := first + rand.IntN(last-first)
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
		errs = err
	}
	return 0, errors.Join(errors.New("no free port was found"), errs)
}
