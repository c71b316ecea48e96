package avro

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/uuid"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
)

// The header in front of a row: Glue's version, no compression, and the id of
// the schema version.
const (
	glueNoCompression = 0
	glueHeaderLen     = 18
)

// glue is the client of a registry in AWS Glue.
type glue struct {
	endpoint string
	region   string
	name     string // of the registry
	static   aws.CredentialsProvider
	client   *http.Client
	patience patience
}

func newGlue(o *config.GlueSchemaRegistryConfig) (*glue, error) {
	if o.RegistryName == "" || o.Region == "" {
		return nil, errors.ErrAvroSchemaAPIError.New("a glue schema registry needs registry-name and region")
	}
	g := &glue{
		endpoint: "https://glue." + o.Region + ".amazonaws.com/", region: o.Region, name: o.RegistryName,
		client: &http.Client{Timeout: registryTimeout}, patience: patience{backoff: registryBackoff},
	}
	if o.AccessKey != "" {
		g.static = credentials.NewStaticCredentialsProvider(o.AccessKey, o.SecretAccessKey, o.Token)
	}
	return g, nil
}

// The parts of requests and answers that are used.
type (
	glueRegistryID struct {
		RegistryName string
	}
	glueSchemaID struct {
		RegistryName string
		SchemaName   string
	}
	glueLatest  struct{ LatestVersion bool }
	glueVersion struct {
		SchemaID         *glueSchemaID `json:"SchemaId,omitempty"`
		SchemaVersionID  string        `json:"SchemaVersionId,omitempty"`
		SchemaDefinition string        `json:",omitempty"`
		Number           *glueLatest   `json:"SchemaVersionNumber,omitempty"`
	}
	glueCreate struct {
		RegistryID       glueRegistryID `json:"RegistryId"`
		SchemaName       string
		DataFormat       string
		Compatibility    string
		SchemaDefinition string
	}
	glueProblem struct {
		Type    string `json:"__type"`
		Message string
	}
)

func (g *glue) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	return g.call(ctx, "GetRegistry", map[string]glueRegistryID{"RegistryId": {g.name}}, nil)
}

func (g *glue) register(ctx context.Context, subject, schema string) ([]byte, error) {
	id := &glueSchemaID{g.name, subject}
	var version glueVersion
	err := g.call(ctx, "GetSchemaVersion", glueVersion{SchemaID: id, Number: &glueLatest{true}}, &version)
	switch {
	case err == nil:
		err = g.call(ctx, "RegisterSchemaVersion", glueVersion{SchemaID: id, SchemaDefinition: schema}, &version)
	case isGlueNotFound(err):
		err = g.call(ctx, "CreateSchema", glueCreate{
			RegistryID: glueRegistryID{g.name}, SchemaName: subject,
			DataFormat: "AVRO", Compatibility: "NONE", SchemaDefinition: schema,
		}, &version)
	}
	if err != nil {
		return nil, err
	}
	versionID, err := uuid.Parse(version.SchemaVersionID)
	if err != nil {
		return nil, errors.ErrAvroSchemaAPIError.Wrap(err, "schema version of "+subject)
	}
	return append([]byte{magicGlue, glueNoCompression}, versionID[:]...), nil
}

func (g *glue) schema(ctx context.Context, data []byte) (string, []byte, error) {
	if len(data) < glueHeaderLen || data[0] != magicGlue || data[1] != glueNoCompression {
		return "", nil, errors.ErrDecodeFailed.New("not in the wire format of a glue schema registry")
	}
	id, err := uuid.FromBytes(data[2:glueHeaderLen])
	if err != nil {
		return "", nil, errors.ErrDecodeFailed.Wrap(err, "schema version")
	}
	var version glueVersion
	if err := g.call(ctx, "GetSchemaVersion", glueVersion{SchemaVersionID: id.String()}, &version); err != nil {
		return "", nil, err
	}
	return version.SchemaDefinition, data[glueHeaderLen:], nil
}

// notFound is the type of Glue's error for what is not there.
const notFound = "EntityNotFoundException"

func isGlueNotFound(err error) bool { return err != nil && strings.Contains(err.Error(), notFound) }

// call sends one request and reads its answer into out, unless that is nil.
func (g *glue) call(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return errors.ErrAvroSchemaAPIError.Wrap(err, operation)
	}
	answer, status, err := g.patience.untilAnswered(ctx, func() ([]byte, int, error) { return g.try(ctx, operation, body) })
	if err != nil {
		return errors.ErrAvroSchemaAPIError.Wrap(err, operation)
	}
	if status != http.StatusOK {
		var p glueProblem
		// What is no JSON is shown by its status alone.
		_ = json.Unmarshal(answer, &p)
		return errors.ErrAvroSchemaAPIError.New(fmt.Sprintf("%s: status %d: %s %s", operation, status, p.Type, p.Message))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return errors.ErrAvroSchemaAPIError.Wrap(err, operation)
	}
	return nil
}

func (g *glue) try(ctx context.Context, operation string, body []byte) ([]byte, int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("X-Amz-Target", "AWSGlue."+operation)
	who, err := g.credentials(ctx)
	if err != nil {
		return nil, 0, err
	}
	hash := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(ctx, who, request, hex.EncodeToString(hash[:]), "glue", g.region, time.Now())
	if err != nil {
		return nil, 0, err
	}
	response, err := g.client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if closeErr := response.Body.Close(); err == nil {
		err = closeErr
	}
	return answer, response.StatusCode, err
}

// credentials are those of the changefeed, else those of the machine.
func (g *glue) credentials(ctx context.Context) (aws.Credentials, error) {
	if g.static != nil {
		return g.static.Retrieve(ctx)
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(g.region))
	if err != nil {
		return aws.Credentials{}, err
	}
	return cfg.Credentials.Retrieve(ctx)
}
