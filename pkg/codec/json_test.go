package codec

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func standard(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func FuzzAppendJSONString(f *testing.F) {
	for _, s := range []string{"", "plain", "\x00\x1f\x7f\b\f\n\r\t\"\\/<>&'", "é中😀\u2028\u2029\ufffd", "cut \xe4\xb8", "0123456\"", "\x80", "0123456789\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		require.Equal(t, standard(t, s), string(AppendJSONString(nil, s)))
		require.Equal(t, standard(t, s), string(AppendJSONString(nil, []byte(s))))
		canal := strings.ReplaceAll(strings.ReplaceAll(standard(t, s), `\\`, "\x00"), `\b`, `\u0008`)
		canal = strings.ReplaceAll(strings.ReplaceAll(canal, `\f`, `\u000c`), "\x00", `\\`)
		require.Equal(t, canal, string(AppendCanalString(nil, s)))

		var runes []rune
		for _, b := range []byte(s) {
			runes = append(runes, rune(b))
		}
		require.Equal(t, string(AppendCanalString(nil, string(runes))), string(AppendCanalBytes(nil, []byte(s))))
	})
}

// TestEveryByte has each byte at each place of a word.
func TestEveryByte(t *testing.T) {
	for c := range 256 {
		for at := range 17 {
			s := bytes.Repeat([]byte("x"), 17)
			s[at] = byte(c)
			require.Equal(t, standard(t, string(s)), string(AppendJSONString([]byte{}, s)))
		}
	}
}

func TestAppendJSONFloat(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	floats := []float64{0, math.Copysign(0, -1), 1e-6, 9.99e-7, 1e-10, 1e20, 1e21, 1e100, math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1}
	for range 10000 {
		if f := math.Float64frombits(r.Uint64()); !math.IsNaN(f) && !math.IsInf(f, 0) {
			floats = append(floats, f, math.Ldexp(r.NormFloat64(), r.IntN(140)-70))
		}
	}
	for _, f := range floats {
		require.Equal(t, standard(t, f), string(AppendJSONFloat(nil, f, 64)))
		if f32 := float32(f); !math.IsInf(float64(f32), 0) {
			require.Equal(t, standard(t, f32), string(AppendJSONFloat(nil, float64(f32), 32)))
		}
	}
}

func TestMembers(t *testing.T) {
	var names []string
	visit := func(name string, value json.RawMessage) error {
		names = append(names, name+string(value))
		return nil
	}
	require.NoError(t, Members([]byte(`{"b":1,"a":{"x":[]}, "b":null}`), visit))
	require.Equal(t, []string{"b1", `a{"x":[]}`, "bnull"}, names)
	for _, bad := range []string{``, `[]`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{1:2}`} {
		require.Error(t, Members([]byte(bad), visit), bad)
	}
}

func TestJSONString(t *testing.T) {
	for _, want := range []string{"", "a", "\u2028\\\"é", "\x00"} {
		got, err := JSONString([]byte(standard(t, want)))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{"", `"`, "1", "null", `"\x"`, `"\"`} {
		_, err := JSONString([]byte(bad))
		require.Error(t, err, bad)
	}
}

// FuzzMembers compares with the standard decoder, which keeps no order.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{`{}`, ` { "a" : [1, {"b":"}\""}] , "c":-1.5e3,"d":null }`, `{"\u00e9":{},"x":"\\"}`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		got := make(map[string]json.RawMessage)
		err := Members(object, func(name string, value json.RawMessage) error {
			got[name] = value
			return nil
		})
		var want map[string]json.RawMessage
		if json.Unmarshal(object, &want) != nil || want == nil {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Len(t, got, len(want))
		for name, value := range want {
			require.Equal(t, string(value), string(got[name]))
		}
	})
}
