package api

import (
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	swaggerfiles "github.com/swaggo/files/v2"

	"github.com/tidemark/tidemark/api/middleware"
	"github.com/tidemark/tidemark/api/openapi"
	"github.com/tidemark/tidemark/api/route"
)

// description is the OpenAPI document as it is served. It is written when
// somebody asks for it.
type description struct{ text func() []byte }

// describedGroups lists every route, those of the description included.
func describedGroups(o Options) []group {
	served := &description{}
	all := append(groups(o), group{name: "description", about: "This description", routes: []route.Route{
		{Method: http.MethodGet, Path: "/api/openapi.json", Handle: served.write,
			Summary: "This description", Answer: map[string]any{}},
		{Method: http.MethodGet, Path: "/swagger/*any", Handle: served.browse,
			Summary: "The description as pages: /swagger/index.html; doc.json is the document", Text: "text/html"},
	}})
	served.text = sync.OnceValue(func() []byte {
		text, err := describe(all).JSON()
		if err != nil { // no type of the document can cause it
			return []byte("{}")
		}
		return text
	})
	return all
}

func describe(all []group) *openapi.Document {
	doc := openapi.New("Tidemark",
		"The HTTP API of TiCDC 8.5. Errors of /api are JSON with a code; a refused request is status 400 or 500 as its code says.",
		"8.5")
	for _, g := range all {
		var failure any
		if g.versioned {
			failure = middleware.HTTPError{}
		}
		doc.Add(g.name, g.about, g.prefix, g.routes, failure)
	}
	return doc
}

func (d *description) write(c *gin.Context) {
	c.Data(http.StatusOK, "application/json; charset=utf-8", d.text())
}

// startUI replaces the script of the files that shows somebody else's API and
// sends what it shows to a validator in the internet.
const startUI = `window.onload = function() {
  window.ui = SwaggerUIBundle({
    url: "doc.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
    layout: "StandaloneLayout"
  });
};
`

// browse serves the Swagger UI.
func (d *description) browse(c *gin.Context) {
	name := strings.TrimPrefix(c.Param("any"), "/")
	switch name {
	case "doc.json":
		d.write(c)
		return
	case "swagger-initializer.js":
		c.Data(http.StatusOK, "text/javascript; charset=utf-8", []byte(startUI))
		return
	}
	file, err := swaggerfiles.FS.Open(name)
	if err != nil {
		notFound(c)
		return
	}
	defer file.Close()
	seeker, ok := file.(io.ReadSeeker)
	if info, err := file.Stat(); err != nil || info.IsDir() || !ok {
		notFound(c)
		return
	}
	http.ServeContent(c.Writer, c.Request, path.Base(name), time.Time{}, seeker)
}

// notFound answers as for a path that has no route.
func notFound(c *gin.Context) {
	c.Data(http.StatusNotFound, "text/plain", []byte("404 page not found"))
}
