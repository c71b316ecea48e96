package middleware

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
)

func TestRequireUser(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	login := func(_ context.Context, _, password string) error {
		if password != "right" {
			return errors.New("Error 1045 (28000): Access denied for user 'root'@'127.0.0.1' (using password: YES)")
		}
		return nil
	}
	tests := []struct {
		name, user, password string
		anonymous            bool
		status               int
		body                 string
	}{
		{name: "right", user: "root", password: "right", status: 200, body: "in"},
		{name: "no header", anonymous: true, status: 401, body: `{
    "error_msg": "[CDC:ErrCredentialNotFound]credential not found: please specify the user and password via authorization header",
    "error_code": "CDC:ErrCredentialNotFound"
}`},
		{name: "no name", password: "right", status: 401, body: `{
    "error_msg": "[CDC:ErrUnauthorized]user  unauthorized, error: Empty username is not allowed.",
    "error_code": "CDC:ErrUnauthorized"
}`},
		{name: "not allowed", user: "eve", password: "right", status: 401, body: `{
    "error_msg": "[CDC:ErrUnauthorized]user eve unauthorized, error: The user is not allowed.",
    "error_code": "CDC:ErrUnauthorized"
}`},
		{name: "wrong", user: "root", password: "wr0ng", status: 401, body: `{
    "error_msg": "[CDC:ErrUnauthorized]user root unauthorized, error: Error 1045 (28000): Access denied for user 'root'@'127.0.0.1' (using password: YES)",
    "error_code": "CDC:ErrUnauthorized"
}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := gin.New()
			r.Use(RenderErrors(), RequireUser([]string{"root"}, login))
			r.POST("/", func(c *gin.Context) { c.String(http.StatusOK, "in") })
			req := httptest.NewRequest("POST", "/", nil)
			if !tt.anonymous {
				req.SetBasicAuth(tt.user, tt.password)
			}
			w := httptest.NewRecorder()
			r.ServeHTTP(w, req)
			require.Equal(t, tt.status, w.Code)
			require.Equal(t, tt.body, w.Body.String())
		})
	}
}
