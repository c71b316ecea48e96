package service

import (
	"strings"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
)

// checkBuilt refuses settings that this version knows but does not act on
// yet: replicating more, or otherwise, than asked would be worse than a
// refusal.
func checkBuilt(c *config.ReplicaConfig) error {
	var wanted []string
	want := func(name string, set bool) {
		if set {
			wanted = append(wanted, name)
		}
	}
	want("consistent.level", c.Consistent.Level == config.ConsistentLevelEventual)
	if len(wanted) == 0 {
		return nil
	}
	return errors.ErrInvalidReplicaConfig.New("this version does not support " + strings.Join(wanted, ", ") + " yet")
}
