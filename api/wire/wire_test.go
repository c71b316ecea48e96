package wire

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
)

func TestMain(m *testing.M) {
	time.Local = time.FixedZone("", 8*3600)
	m.Run()
}

func TestTime(t *testing.T) {
	for tso, want := range map[uint64]string{
		426921294362574849: "2021-08-10 14:04:54.242",
		439749918821711874: "2023-02-27 23:46:52.888",
		0:                  "1970-01-01 08:00:00.000",
	} {
		text, err := json.Marshal(TimeOfTSO(tso))
		require.NoError(t, err)
		require.Equal(t, `"`+want+`"`, string(text))
		var back Time
		require.NoError(t, json.Unmarshal(text, &back))
		require.True(t, time.Time(back).Equal(model.TimeOf(tso)))
	}
	text, err := json.Marshal(Time{})
	require.NoError(t, err)
	require.Equal(t, `"0001-01-01 00:00:00.000"`, string(text))
}

func TestDecode(t *testing.T) {
	var v struct {
		N uint64 `json:"n"`
	}
	require.Equal(t, io.EOF, Decode(strings.NewReader(""), &v))
	require.NoError(t, Decode(strings.NewReader(`{"N":3,"x":1} rest`), &v))
	require.Equal(t, uint64(3), v.N)
	require.NoError(t, Decode(strings.NewReader("null"), &v))
	require.NoError(t, Decode(strings.NewReader(`{"n":null}`), &v))
	require.Equal(t, uint64(3), v.N, "null keeps a value")
	for _, bad := range []string{`{"n":-1}`, `{"n":1.5}`, `{"n":"1"}`, `{bad}`} {
		require.Error(t, Decode(strings.NewReader(bad), &v), bad)
	}
}

func TestSinkURI(t *testing.T) {
	for uri, want := range map[config.SinkURI]string{
		"blackhole://":                              "blackhole:",
		"blackhole://?a=1":                          "blackhole:?a=1",
		"MySQL://root:123@h:1/?x=1":                 "mysql://root:xxxxx@h:1/?x=1",
		"kafka://h/t?b=2&sasl-password=p%26q&a=1":   "kafka://h/t?a=1&b=2&sasl-password=xxxxx",
		"s3://b/p?access-key=k&secret-access-key=s": "s3://b/p?access-key=xxxxx&secret-access-key=xxxxx",
		"mysql://root:p%zz@h":                       "",
	} {
		require.Equal(t, want, SinkURI(uri))
	}
}
