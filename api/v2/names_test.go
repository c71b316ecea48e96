package v2_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/api/configdoc"
	v2 "github.com/tidemark/tidemark/api/v2"
	"github.com/tidemark/tidemark/pkg/config"
)

// TestFileAndAPIMeanTheSame: every setting, given alone by its name in files
// and by its name in the API, leads to one and the same configuration, which
// is not that of any other setting.
func TestFileAndAPIMeanTheSame(t *testing.T) {
	seen := map[string]string{}
	for _, f := range configdoc.Fields() {
		if f.JSON == "" || f.TOML == "sql-mode" {
			continue // TestDroppedKeys
		}
		value := valueFor(t, f)
		var text bytes.Buffer
		require.NoError(t, toml.NewEncoder(&text).Encode(nested(f.TOML, value)))
		path := filepath.Join(t.TempDir(), "changefeed.toml")
		require.NoError(t, os.WriteFile(path, text.Bytes(), 0o600))
		fromFile := config.DefaultReplicaConfig()
		require.NoError(t, fromFile.LoadFile(path), "%s", text.Bytes())
		require.NotEqual(t, config.DefaultReplicaConfig(), fromFile, f.TOML)

		body, err := json.Marshal(nested(f.JSON, value))
		require.NoError(t, err)
		fromAPI, err := v2.CreateConfig(body)
		require.NoError(t, err, "%s", body)
		require.Equal(t, fromFile, fromAPI, "%s and %s", text.Bytes(), body)

		stored, err := json.Marshal(fromFile)
		require.NoError(t, err)
		require.Empty(t, seen[string(stored)], "%s is the same as another setting", f.TOML)
		seen[string(stored)] = f.TOML
	}
	require.Greater(t, len(seen), 150)
}

// valueFor is a value of a setting that is not its default.
func valueFor(t *testing.T, f configdoc.Field) any {
	switch f.Type {
	case "bool":
		return f.Default != "`true`"
	case "string":
		return "x"
	case "duration":
		return "77m"
	case "list of string":
		return []string{"x.*"}
	case "list of uint64":
		return []uint64{7}
	case "int", "int16", "int32", "int64", "uint", "uint64":
		return 7
	}
	require.Fail(t, "a type without a value", "%s of %s", f.Type, f.TOML)
	return nil
}

// nested puts a value at a path, such as a.b[].c.
func nested(path string, value any) map[string]any {
	head, rest, deeper := strings.Cut(path, ".")
	name, list := strings.CutSuffix(head, "[]")
	if deeper {
		value = nested(rest, value)
	}
	if list {
		value = []any{value}
	}
	return map[string]any{name: value}
}
