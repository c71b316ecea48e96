package avro

import (
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
)

func newGlue(*config.GlueSchemaRegistryConfig) (checker, error) {
	return nil, errors.ErrAvroSchemaAPIError.New("glue")
}

// glueHeaderLen is the length of Glue's header: two bytes and a UUID.
const glueHeaderLen = 18
