package upstream

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	pd "github.com/tikv/pd/client"
	"go.uber.org/zap"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
)

func TestSourceID(t *testing.T) {
	for _, c := range []struct {
		name  string
		items []pd.GlobalConfigItem
		want  uint64 // 0: an error
	}{
		{"an old PD knows no item", nil, 1},
		{"never set", []pd.GlobalConfigItem{{Name: "source_id"}}, 1},
		{"set", []pd.GlobalConfigItem{{Name: "source_id", Value: "15"}}, 15},
		{"zero would switch the mark off", []pd.GlobalConfigItem{{Name: "source_id", Value: "0"}}, 0},
		{"too large", []pd.GlobalConfigItem{{Name: "source_id", Value: "16"}}, 0},
		{"no number", []pd.GlobalConfigItem{{Name: "source_id", Value: "one"}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := &Upstream{cfg: Config{Logger: zap.NewNop()}, pd: &fakePD{items: func(names []string) ([]pd.GlobalConfigItem, error) {
				require.Equal(t, []string{"source_id"}, names)
				return c.items, nil
			}}}
			id, err := u.SourceID(t.Context())
			require.Equal(t, c.want, id)
			require.Equal(t, c.want == 0, err != nil)
			if err != nil {
				require.ErrorIs(t, err, cerrors.ErrPDEtcdAPIError)
			}
		})
	}
}

// A PD that does not answer is no reason to take the default: the mark would
// be that of another cluster.
func TestSourceIDWithoutPD(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	u := &Upstream{cfg: Config{Logger: zap.NewNop()}, pd: &fakePD{items: func([]string) ([]pd.GlobalConfigItem, error) {
		cancel()
		return nil, errors.New("no leader")
	}}}
	_, err := u.SourceID(ctx)
	require.ErrorIs(t, err, cerrors.ErrPDEtcdAPIError)
	require.ErrorContains(t, err, "no leader")
}
