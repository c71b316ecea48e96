// Package route says what a route of the HTTP API is. The handlers are
// registered and the OpenAPI description is written from the same list, so
// that the one cannot differ from the other.
package route

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// Route is one method on one path.
type Route struct {
	Method string // empty: every method
	Path   string // relative to the group, parameters as :name
	Handle gin.HandlerFunc
	// ToOwner relays the call when another capture is the owner.
	ToOwner bool
	// NeedsUser makes the call need credentials where the server asks for them.
	NeedsUser bool

	// What follows describes the route and has no effect.

	Summary string
	Query   []Param
	Form    []Param // parameters of a form, or of the query
	Body    any     // a value of the body's type; nil takes none
	// OptionalBody says that the body may be left out.
	OptionalBody bool
	Status       int // of a success; 0 is 200
	Answer       any // a value of the answer's type; nil is an empty body
	// Text says that answer and errors are no JSON but text of this type.
	Text string
}

// Param is a parameter of the query or of a form.
type Param struct {
	Name, About string
}

// Success is the status of a success.
func (r Route) Success() int {
	if r.Status == 0 {
		return http.StatusOK
	}
	return r.Status
}

// Gates are the handlers that stand before those of routes that want them.
type Gates struct {
	Forward gin.HandlerFunc
	// Login is nil where the server asks nobody for credentials.
	Login gin.HandlerFunc
}

// Register adds routes to a group. Forwarding comes before the login: the
// owner checks.
func Register(g gin.IRoutes, routes []Route, gates Gates) {
	for _, r := range routes {
		var chain []gin.HandlerFunc
		if r.ToOwner {
			chain = append(chain, gates.Forward)
		}
		if r.NeedsUser && gates.Login != nil {
			chain = append(chain, gates.Login)
		}
		chain = append(chain, r.Handle)
		if r.Method == "" {
			g.Any(r.Path, chain...)
			continue
		}
		g.Handle(r.Method, r.Path, chain...)
	}
}
