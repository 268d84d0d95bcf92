package api

import (
	_ "embed"
	"net/http"
)

//go:embed openapi.yaml
var description []byte

// openapi answers GET /openapi.yaml: this API, described for programs.
func (a *api) openapi(*http.Request) response {
	return raw{http.StatusOK, "application/yaml", description}
}
