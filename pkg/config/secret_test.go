package config

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSinkURIIsMasked(t *testing.T) {
	for uri, want := range map[SinkURI]string{
		"blackhole://":                  "blackhole:",
		"mysql://root@h:1/?a=b":         "mysql://root@h:1/?a=b",
		"mysql://root:secret@h:1/":      "mysql://root:xxxxx@h:1/",
		"mysql:root:secret@h:1":         "mysql:xxxxx",
		"mysql://root:%zzsecret@h":      "xxxxx",
		"kafka://h/t?sasl-password=p":   "kafka://h/t?sasl-password=xxxxx",
		"kafka://h/t?SASL_Password=p":   "kafka://h/t?SASL_Password=xxxxx",
		"s3://b/p?c=1&access-key=p&a=2": "s3://b/p?a=2&access-key=xxxxx&c=1",
		// What is not understood is not shown.
		"kafka://h/t?a=1&sasl-password=secret%zz":            "kafka://h/t?a=1&xxxxx",
		"kafka://h/t?a=1;sasl-password=secret":               "kafka://h/t?xxxxx",
		"kafka://h/t?b=%zzsecret&sasl-password=p&access-key": "kafka://h/t?access-key=xxxxx&sasl-password=xxxxx&xxxxx=",
	} {
		require.Equal(t, want, uri.String())
		require.Equal(t, want, fmt.Sprintf("%#v", uri))
		require.Equal(t, string(uri), uri.Reveal())
	}
}
