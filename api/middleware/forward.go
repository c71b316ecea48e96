package middleware

import (
	"context"
	"crypto/tls"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/service"
)

const (
	forwardFromHeader  = "TiCDC-ForwardFromCapture"
	forwardTimesHeader = "TiCDC-ForwardTimes"
	maxForwardTimes    = 2
	// findOwnerTimeout bounds asking etcd who the owner is, dialOwnerTimeout
	// connecting to it. Without them a call would hang as long as etcd or the
	// owner's machine is down.
	findOwnerTimeout = 3 * time.Second
	dialOwnerTimeout = 3 * time.Second
	// answerTimeout bounds the wait for the owner's answer to begin. It leaves
	// room for the slowest calls, which connect to another PD and to a sink.
	answerTimeout = 3 * time.Minute
	// readTimeout is the same for calls that only read: the owner has that at
	// hand, unless the network between it and this capture is cut.
	readTimeout = 10 * time.Second
)

// Cluster is what forwarding needs to know.
type Cluster interface {
	// IsOwner tells whether this capture answers itself.
	IsOwner() bool
	// OwnerAddress is the owner's host:port; it fails when there is none.
	OwnerAddress(ctx context.Context) (string, error)
	// Status describes this capture; it fails when it is not registered.
	Status() (service.NodeStatus, error)
}

// ForwardClient makes the client that relays requests: answers pass through
// as they are, redirects and encodings included.
func ForwardClient(tlsConfig *tls.Config) *http.Client {
	transport := &http.Transport{
		TLSClientConfig:     tlsConfig,
		DialContext:         (&net.Dialer{Timeout: dialOwnerTimeout}).DialContext,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     time.Minute,
		TLSHandshakeTimeout: dialOwnerTimeout,
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ForwardToOwner relays a request to the owner unless this capture is it.
func ForwardToOwner(cluster Cluster, client *http.Client, secure bool) gin.HandlerFunc {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	return func(c *gin.Context) {
		if cluster.IsOwner() {
			c.Next()
			return
		}
		defer c.Abort()
		req, err := forwardRequest(c, cluster, scheme)
		if err != nil {
			Fail(c, err)
			return
		}
		ctx, cancel := context.WithCancelCause(req.Context())
		defer cancel(nil)
		resp, err := ask(client, req.WithContext(ctx), cancel)
		var tooLarge *http.MaxBytesError
		if stderrors.As(err, &tooLarge) {
			err = errors.ErrAPIInvalidParam.Wrap(tooLarge)
		}
		if err != nil {
			Fail(c, err)
			return
		}
		defer resp.Body.Close()
		relay(c, resp)
	}
}

// ask sends a request and waits a limited time for the answer to begin.
func ask(client *http.Client, req *http.Request, cancel context.CancelCauseFunc) (*http.Response, error) {
	limit := answerTimeout
	if req.Method == http.MethodGet {
		limit = readTimeout
	}
	silence := time.AfterFunc(limit, func() {
		cancel(fmt.Errorf("the owner at %s has not answered for %s", req.URL.Host, limit))
	})
	defer silence.Stop()
	return client.Do(req)
}

// forwardRequest builds the same request for the owner, with one more hop.
func forwardRequest(c *gin.Context, cluster Cluster, scheme string) (*http.Request, error) {
	hops, err := forwardTimes(c.Request)
	if err != nil {
		return nil, err
	}
	self, err := cluster.Status()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), findOwnerTimeout)
	defer cancel()
	addr, err := cluster.OwnerAddress(ctx)
	if err != nil {
		return nil, err
	}
	if addr == self.Capture.AdvertiseAddr {
		// The term begins or ends at this moment: nobody else can answer.
		return nil, errors.ErrNotOwner.New()
	}
	target := scheme + "://" + addr + c.Request.URL.RequestURI()
	req, err := http.NewRequestWithContext(c.Request.Context(), c.Request.Method, target, c.Request.Body)
	if err != nil {
		return nil, err
	}
	req.Header = c.Request.Header.Clone()
	req.Header.Set(forwardFromHeader, self.Capture.ID)
	req.Header.Set(forwardTimesHeader, strconv.FormatUint(hops+1, 10))
	return req, nil
}

func forwardTimes(r *http.Request) (uint64, error) {
	text := r.Header.Get(forwardTimesHeader)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > maxForwardTimes {
		return 0, errors.ErrRequestForward.New()
	}
	return n, nil
}

func relay(c *gin.Context, resp *http.Response) {
	for name, values := range resp.Header {
		c.Header(name, values[len(values)-1])
	}
	c.Status(resp.StatusCode)
	c.Writer.WriteHeaderNow()
	// The status is out: an answer that breaks off is all that can be told.
	_, _ = io.Copy(c.Writer, resp.Body)
}
