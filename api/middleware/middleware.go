// Package middleware holds what every API route shares: recovery, readiness,
// the access log, the rendering of errors and forwarding to the owner.
package middleware

import (
	stderrors "errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/errors"
)

// clientVersionHeader carries the version of the command-line client.
const clientVersionHeader = "X-client-version"

// Recover answers a panic of a handler by 500 without a body.
func Recover(logger *zap.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			logger.Error("panic in an HTTP handler", zap.Any("panic", p),
				zap.String("path", c.Request.URL.Path), zap.Stack("stack"))
			c.AbortWithStatus(http.StatusInternalServerError)
		}()
		c.Next()
	}
}

// maxBody is how many bytes of a body are read: far more than what etcd can
// store of it.
const maxBody = 16 << 20

// LimitBody keeps a request from taking any amount of memory: reading its body
// fails after maxBody bytes.
func LimitBody() gin.HandlerFunc {
	return func(c *gin.Context) {
		if c.Request.Body != nil {
			c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBody)
		}
		c.Next()
	}
}

// Readiness tells whether the API may be served.
type Readiness interface {
	Ready() bool
}

// RequireReady answers 503 as long as the server is not ready.
func RequireReady(r Readiness) gin.HandlerFunc {
	return func(c *gin.Context) {
		if !r.Ready() {
			c.IndentedJSON(http.StatusServiceUnavailable, bodyOf(errors.ErrServerIsNotReady.New()))
			c.Abort()
			return
		}
		c.Next()
	}
}

// slowRead is how long a successful read may take before its line is worth
// everybody's attention.
const slowRead = time.Second

// LogAccess writes one line per call. Reads that succeed are polled, and so
// are logged for debugging only, unless they are slow.
func LogAccess(logger *zap.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		start := time.Now()
		c.Next()
		took := time.Since(start)
		level := zap.InfoLevel
		if c.Request.Method == http.MethodGet && c.Writer.Status() < http.StatusBadRequest && took < slowRead {
			level = zap.DebugLevel
		}
		entry := logger.Check(level, "api request")
		if entry == nil {
			return
		}
		user, _, _ := c.Request.BasicAuth()
		fields := []zap.Field{
			zap.Int("status", c.Writer.Status()),
			zap.String("method", c.Request.Method),
			zap.String("path", c.Request.URL.Path),
			zap.String("query", c.Request.URL.RawQuery),
			zap.String("ip", c.ClientIP()),
			zap.String("user-agent", c.Request.UserAgent()),
			zap.String("client-version", c.Request.Header.Get(clientVersionHeader)),
			zap.String("username", user),
			zap.Duration("duration", took),
		}
		if last := c.Errors.Last(); last != nil {
			fields = append(fields, zap.Error(last.Err))
		}
		entry.Write(fields...)
	}
}

// HTTPError is the answer of every failed call.
type HTTPError struct {
	Message string `json:"error_msg"`
	Code    string `json:"error_code"`
}

func bodyOf(err error) HTTPError {
	return HTTPError{Message: err.Error(), Code: errors.CodeOf(err)}
}

// Fail records the error that RenderErrors will answer with.
func Fail(c *gin.Context, err error) { _ = c.Error(err) }

// FailWith is Fail with a status that does not follow from the error.
func FailWith(c *gin.Context, status int, err error) {
	c.IndentedJSON(status, bodyOf(err))
	Fail(c, err)
}

// FailDrain answers a drain that failed on its way: by 503, for which clients
// wait and try again. The caller's faults keep their status.
func FailDrain(c *gin.Context, err error) {
	if errors.IsBadRequest(err) || stderrors.Is(err, errors.ErrNotOwner) || stderrors.Is(err, errors.ErrOwnerNotFound) {
		Fail(c, err)
		return
	}
	c.Header("Content-Type", "text/plain; charset=utf-8")
	FailWith(c, http.StatusServiceUnavailable, err)
}

// FailDecode answers a body that does not decode: by 400 and, unlike every
// other error, as plain text by its type. Clients know it like that.
func FailDecode(c *gin.Context, err error) {
	c.Header("Content-Type", "text/plain; charset=utf-8")
	FailWith(c, http.StatusBadRequest, err)
}

// RenderErrors answers with the error that the handler recorded: by 400 if
// its kind is the caller's fault, else by 500. A handler that has answered
// already has its say.
func RenderErrors() gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Next()
		last := c.Errors.Last()
		if last == nil || c.Writer.Written() {
			return
		}
		status := http.StatusInternalServerError
		if errors.IsBadRequest(last.Err) {
			status = http.StatusBadRequest
		}
		c.IndentedJSON(status, bodyOf(last.Err))
		c.Abort()
	}
}
