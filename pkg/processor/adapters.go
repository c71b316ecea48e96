package processor

import (
	"context"

	"github.com/tidemark/tidemark/pkg/schema"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// FromClient makes a client the source of row changes.
func FromClient(c *changes.Client) Changes { return clientChanges{c} }

type clientChanges struct{ client *changes.Client }

func (c clientChanges) Subscribe(o changes.Options) Subscription { return c.client.Subscribe(o) }

// FromRegistry makes a registry the source of table versions.
func FromRegistry(r *schema.Registry) Schemas { return registrySchemas{r} }

type registrySchemas struct{ registry *schema.Registry }

func (r registrySchemas) Acquire(ctx context.Context, ts uint64) (SchemaLease, error) {
	lease, err := r.registry.Acquire(ctx, ts)
	if err != nil {
		return nil, err
	}
	return registryLease{lease}, nil
}

type registryLease struct{ *schema.Lease }

func (l registryLease) Store() SchemaStore { return l.Lease.Store() }
