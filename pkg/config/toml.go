package config

import (
	"fmt"
	"os"
	"strings"

	"github.com/BurntSushi/toml"
)

// decodeFile decodes a TOML file over what into points to. A key that is no
// setting is an error, unless its first part is one of skip.
func decodeFile(path, component string, into any, skip ...string) (toml.MetaData, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return toml.MetaData{}, err
	}
	meta, err := toml.Decode(string(text), into)
	if err != nil {
		return meta, fmt.Errorf("component %s's config file %s is not valid TOML: %w", component, path, err)
	}
	var unknown []string
keys:
	for _, key := range meta.Undecoded() {
		for _, s := range skip {
			if key[0] == s {
				continue keys
			}
		}
		unknown = append(unknown, key.String())
	}
	if len(unknown) > 0 {
		return meta, fmt.Errorf("component %s's config file %s contained unknown configuration options: %s",
			component, path, strings.Join(unknown, ", "))
	}
	return meta, nil
}

// LoadFile decodes a TOML file over the configuration. A key that is no
// setting is an error. The lists of old clients take the place of rules that
// the file does not have.
func (c *ReplicaConfig) LoadFile(path string) error {
	meta, err := decodeFile(path, "TiCDC changefeed", c)
	if err != nil {
		return err
	}
	for _, list := range []string{"do-tables", "do-dbs", "ignore-tables", "ignore-dbs"} {
		if meta.IsDefined("filter", list) && !meta.IsDefined("filter", "rules") {
			c.Filter.Rules = nil
		}
	}
	return nil
}
