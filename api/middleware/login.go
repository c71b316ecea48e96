package middleware

import (
	"context"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/tidemark/tidemark/pkg/errors"
)

// Login proves that a user of the upstream has this password. The error says
// why not, or why that cannot be found out, and holds no password.
type Login func(ctx context.Context, user, password string) error

// RequireUser lets only calls pass that carry, by HTTP Basic authentication,
// the credentials of an allowed user of the upstream.
func RequireUser(allowed []string, login Login) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := checkUser(c.Request, allowed, login); err != nil {
			FailWith(c, http.StatusUnauthorized, err)
			c.Abort()
			return
		}
		c.Next()
	}
}

func checkUser(r *http.Request, allowed []string, login Login) error {
	user, password, ok := r.BasicAuth()
	switch {
	case !ok:
		return errors.ErrCredentialNotFound.New("please specify the user and password via authorization header")
	case user == "":
		return errors.ErrUnauthorized.New(user, "Empty username is not allowed.")
	case !slices.Contains(allowed, user):
		return errors.ErrUnauthorized.New(user, "The user is not allowed.")
	}
	if err := login(r.Context(), user, password); err != nil {
		return errors.ErrUnauthorized.New(user, err.Error())
	}
	return nil
}
