package avro

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/errors"
)

const (
	registryTimeout = 30 * time.Second // of one call
	registryBackoff = 500 * time.Millisecond
	maxBackoff      = 30 * time.Second
	maxAnswer       = 16 << 20
	contentType     = "application/vnd.schemaregistry.v1+json"
	acceptTypes     = "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, application/json"
)

// checker is a registry that can be tried out.
type checker interface {
	registry
	// check fails unless a registry answers.
	check(ctx context.Context) error
}

// openRegistry makes the client of the configured registry; it calls nothing.
func openRegistry(o codec.AvroOptions) (checker, error) {
	if o.Glue != nil && o.Registry == "" {
		g, err := newGlue(o.Glue)
		if err != nil {
			return nil, err
		}
		g.patience.onTrouble = o.OnTrouble
		return g, nil
	}
	c, err := newConfluent(o.Registry.Reveal())
	if err != nil {
		return nil, err
	}
	c.patience.onTrouble = o.OnTrouble
	return c, nil
}

// patience is how a call of a registry is tried again.
type patience struct {
	backoff   time.Duration   // before the second try
	onTrouble func(err error) // see codec.AvroOptions; may be nil
}

// confluent is the client of a registry with the interface of Confluent's.
type confluent struct {
	base     string // without user and password
	user     *url.Userinfo
	client   *http.Client
	patience patience
}

func newConfluent(address string) (*confluent, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.ErrAvroSchemaAPIError.New("the address of the schema registry is not an HTTP URL")
	}
	c := &confluent{user: u.User, client: &http.Client{Timeout: registryTimeout}, patience: patience{backoff: registryBackoff}}
	u.User = nil
	c.base = strings.TrimSuffix(u.String(), "/")
	return c, nil
}

func (c *confluent) check(ctx context.Context) error {
	body, err := c.call(ctx, http.MethodGet, "", nil)
	if err != nil {
		return err
	}
	if string(body) == "{}" {
		return nil
	}
	// Other registries, such as Apicurio's, have the same interface below a
	// path that is a page for people.
	var subjects []string
	if body, err = c.call(ctx, http.MethodGet, "/subjects", nil); err != nil {
		return err
	}
	if json.Unmarshal(body, &subjects) != nil {
		return errors.ErrAvroSchemaAPIError.New("unexpected answer of the schema registry, is " + c.base + " one?")
	}
	return nil
}

func (c *confluent) register(ctx context.Context, subject, schema string) ([]byte, error) {
	request, err := json.Marshal(map[string]string{"schema": schema})
	if err != nil {
		return nil, errors.ErrAvroSchemaAPIError.Wrap(err, "register")
	}
	answer, err := c.call(ctx, http.MethodPost, "/subjects/"+url.PathEscape(subject)+"/versions", request)
	if err != nil {
		return nil, err
	}
	var registered struct {
		ID uint32 `json:"id"`
	}
	if err := json.Unmarshal(answer, &registered); err != nil || registered.ID == 0 {
		return nil, errors.ErrAvroSchemaAPIError.New("no schema id in the answer for subject " + subject)
	}
	return binary.BigEndian.AppendUint32([]byte{magicRow}, registered.ID), nil
}

// headerLen is the length of the wire header: the magic byte and the id.
const headerLen = 5

func (c *confluent) schema(ctx context.Context, data []byte) (string, []byte, error) {
	if len(data) < headerLen || data[0] != magicRow {
		return "", nil, errors.ErrDecodeFailed.New("not in the wire format of a schema registry")
	}
	id := binary.BigEndian.Uint32(data[1:])
	answer, err := c.call(ctx, http.MethodGet, "/schemas/ids/"+strconv.FormatUint(uint64(id), 10), nil)
	if err != nil {
		return "", nil, err
	}
	var found struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(answer, &found); err != nil || found.Schema == "" {
		return "", nil, errors.ErrAvroSchemaAPIError.New(fmt.Sprintf("no schema in the answer for id %d", id))
	}
	return found.Schema, data[headerLen:], nil
}

// call sends a request until it is answered. Answers that blame the request are
// errors.
func (c *confluent) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	answer, status, err := c.patience.untilAnswered(ctx, func() ([]byte, int, error) { return c.try(ctx, method, path, body) })
	if err != nil {
		return nil, errors.ErrAvroSchemaAPIError.Wrap(err, method+" "+c.base+path)
	}
	if status != http.StatusOK {
		return nil, errors.ErrAvroSchemaAPIError.New(
			fmt.Sprintf("%s %s: status %d: %s", method, c.base+path, status, firstBytes(answer)))
	}
	return answer, nil
}

// untilAnswered tries a request with growing pauses until the answer has a
// status below 500, which may be one of failure, or the context ends.
func (p *patience) untilAnswered(ctx context.Context, try func() ([]byte, int, error)) ([]byte, int, error) {
	for pause := p.backoff; ; pause = min(2*pause, maxBackoff) {
		answer, status, err := try()
		switch {
		case err == nil && status < http.StatusInternalServerError:
			p.notice(nil)
			return answer, status, nil
		case err == nil:
			err = fmt.Errorf("status %d: %s", status, firstBytes(answer))
		}
		if ctx.Err() == nil {
			p.notice(err)
		}
		// Not all clients that lost the registry come back at once.
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, 0, err
		case <-timer.C:
		}
	}
}

func (p *patience) notice(err error) {
	if p.onTrouble != nil {
		p.onTrouble(err)
	}
}

func (c *confluent) try(ctx context.Context, method, path string, body []byte) ([]byte, int, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	if c.user != nil {
		password, _ := c.user.Password()
		request.SetBasicAuth(c.user.Username(), password)
	}
	request.Header.Set("Accept", acceptTypes)
	if body != nil {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if closeErr := response.Body.Close(); err == nil {
		err = closeErr
	}
	return answer, response.StatusCode, err
}

func firstBytes(b []byte) string { return strings.ToValidUTF8(string(b[:min(len(b), 256)]), "?") }
