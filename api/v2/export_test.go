package v2

import (
	"encoding/json"

	"github.com/tidemark/tidemark/pkg/config"
)

// CreateConfig is the configuration that the replica_config of a create means.
func CreateConfig(text []byte) (*config.ReplicaConfig, error) {
	c := defaults()
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, err
	}
	return c.merged(), nil
}
