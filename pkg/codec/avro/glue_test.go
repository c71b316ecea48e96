package avro

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/codec/codectest"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/model"
)

// fakeGlue is the part of AWS Glue's interface that is used.
type fakeGlue struct {
	mu       sync.Mutex
	calls    []string
	latest   map[string]string // version by schema name
	versions map[string]string // definition by version
	busy     int               // answers of status 500 to come
}

func (f *fakeGlue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var in struct {
		RegistryID       glueRegistryID `json:"RegistryId"`
		SchemaID         glueSchemaID   `json:"SchemaId"`
		SchemaVersionID  string         `json:"SchemaVersionId"`
		SchemaName       string
		SchemaDefinition string
		DataFormat       string
		Compatibility    string
	}
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AWSGlue.")
	problem := func(text string) {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(glueProblem{Type: text})
	}
	if f.busy > 0 {
		f.busy--
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	f.calls = append(f.calls, operation)
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("Authorization") != signature(r, body) || json.Unmarshal(body, &in) != nil {
		problem("AccessDeniedException")
		return
	}
	var out glueVersion
	switch operation {
	case "GetRegistry":
		if in.RegistryID.RegistryName != "ours" {
			problem(notFound)
			return
		}
	case "GetSchemaVersion":
		out.SchemaVersionID = in.SchemaVersionID
		if in.SchemaVersionID == "" {
			out.SchemaVersionID = f.latest[in.SchemaID.SchemaName]
		}
		out.SchemaDefinition = f.versions[out.SchemaVersionID]
		if out.SchemaDefinition == "" {
			problem(notFound)
			return
		}
	case "CreateSchema", "RegisterSchemaVersion":
		if operation == "CreateSchema" && (in.DataFormat != "AVRO" || in.Compatibility != "NONE") {
			problem("InvalidInputException")
			return
		}
		out.SchemaVersionID = uuid.NewString()
		f.latest[in.SchemaName+in.SchemaID.SchemaName] = out.SchemaVersionID
		f.versions[out.SchemaVersionID] = in.SchemaDefinition
	}
	_ = json.NewEncoder(w).Encode(out)
}

// signature is what the one who may call signs a request with.
func signature(r *http.Request, body []byte) string {
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return "no time"
	}
	again, err := http.NewRequest(http.MethodPost, "http://"+r.Host+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		return "no request"
	}
	for _, name := range []string{"Content-Type", "X-Amz-Target"} {
		again.Header.Set(name, r.Header.Get(name))
	}
	hash := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: "key", SecretAccessKey: "hidden", SessionToken: "token"},
		again, hex.EncodeToString(hash[:]), "glue", "eu-west-1", at)
	if err != nil {
		return "not signed"
	}
	return again.Header.Get("Authorization")
}

// TestGlueKeys: with any other setting there is no way in.
func TestGlueKeys(t *testing.T) {
	server := httptest.NewServer(&fakeGlue{})
	defer server.Close()
	check := func(change func(*config.GlueSchemaRegistryConfig)) error {
		o := &config.GlueSchemaRegistryConfig{
			RegistryName: "ours", Region: "eu-west-1", AccessKey: "key", SecretAccessKey: "hidden", Token: "token"}
		change(o)
		g, err := newGlue(o)
		require.NoError(t, err)
		require.Equal(t, "https://glue."+o.Region+".amazonaws.com/", g.endpoint)
		g.endpoint, g.patience.backoff = server.URL, time.Millisecond
		return g.check(t.Context())
	}
	require.NoError(t, check(func(*config.GlueSchemaRegistryConfig) {}))
	for key, tc := range map[string]struct {
		change func(*config.GlueSchemaRegistryConfig)
		want   string
	}{
		"registry-name":     {func(o *config.GlueSchemaRegistryConfig) { o.RegistryName = "theirs" }, notFound},
		"region":            {func(o *config.GlueSchemaRegistryConfig) { o.Region = "us-east-1" }, "AccessDenied"},
		"access-key":        {func(o *config.GlueSchemaRegistryConfig) { o.AccessKey = "other" }, "AccessDenied"},
		"secret-access-key": {func(o *config.GlueSchemaRegistryConfig) { o.SecretAccessKey = "guessed" }, "AccessDenied"},
		"token":             {func(o *config.GlueSchemaRegistryConfig) { o.Token = "old" }, "AccessDenied"},
	} {
		t.Run(key, func(t *testing.T) {
			err := check(tc.change)
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "guessed")
		})
	}
}

func TestGlue(t *testing.T) {
	f := &fakeGlue{latest: make(map[string]string), versions: make(map[string]string), busy: 2}
	server := httptest.NewServer(f)
	defer server.Close()
	open := func(name, key string) *glue {
		g, err := newGlue(&config.GlueSchemaRegistryConfig{
			RegistryName: name, Region: "eu-west-1", AccessKey: key, SecretAccessKey: "hidden", Token: "token"})
		require.NoError(t, err)
		require.Equal(t, "https://glue.eu-west-1.amazonaws.com/", g.endpoint)
		g.endpoint, g.patience.backoff = server.URL, time.Millisecond
		return g
	}
	require.ErrorContains(t, open("theirs", "key").check(t.Context()), notFound)
	err := open("ours", "other").check(t.Context())
	require.ErrorIs(t, err, errors.ErrAvroSchemaAPIError)
	require.NotContains(t, err.Error(), "hidden")

	g := open("ours", "key")
	require.NoError(t, g.check(t.Context()))
	o := codec.Options{MaxMessageBytes: 1 << 20, Changefeed: model.ChangefeedID{Namespace: "default"}}
	e, d := newEncoder(o, g), newDecoder(g)
	f.calls = nil
	before := codectest.Table(t, "create table t (id int primary key)")
	after := codectest.Table(t, "create table t (id int primary key, a int)")
	messages := codectest.Encode(t, e,
		codectest.Insert(before, []model.Value{codectest.Int(1)}),
		codectest.Insert(after, []model.Value{codectest.Int(2), codectest.Int(3)}))
	require.Equal(t, []string{
		"GetSchemaVersion", "CreateSchema", "GetSchemaVersion", "CreateSchema",
		"GetSchemaVersion", "RegisterSchemaVersion", "GetSchemaVersion", "RegisterSchemaVersion",
	}, f.calls)
	for i, m := range messages {
		require.Equal(t, []byte{3, 0}, m.Key[:2])
		require.Len(t, m.Key, glueHeaderLen+1)
		events, err := d.Decode(t.Context(), m.Key, m.Value)
		require.NoError(t, err)
		require.Len(t, events[0].Row.New, i+1)
	}
	_, _, err = g.schema(t.Context(), []byte{3, 0})
	require.ErrorIs(t, err, errors.ErrDecodeFailed)
	_, err = newGlue(&config.GlueSchemaRegistryConfig{Region: "x"})
	require.ErrorIs(t, err, errors.ErrAvroSchemaAPIError)
}
