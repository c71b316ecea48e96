package kafka

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/tidemark/tidemark/pkg/errors"
)

// params reads typed values of a URI's query, with a fallback from the
// changefeed's configuration. The first error is kept.
type params struct {
	values url.Values
	err    error
}

// text takes an empty parameter as absent.
func (p *params) text(name string, fromConfig *string, def string) string {
	if v := p.values.Get(name); v != "" {
		return v
	}
	if fromConfig != nil && *fromConfig != "" {
		return *fromConfig
	}
	return def
}

func (p *params) boolean(name string, fromConfig *bool, def bool) bool {
	if s := p.values.Get(name); s != "" {
		b, err := strconv.ParseBool(s)
		if err != nil {
			p.invalid(name, s, "true or false")
		}
		return b
	}
	if fromConfig != nil {
		return *fromConfig
	}
	return def
}

func (p *params) duration(name string, fromConfig *string, def time.Duration) time.Duration {
	s := p.text(name, fromConfig, "")
	if s == "" {
		return def
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		p.invalid(name, s, "a duration such as 10s")
		return def
	}
	return d
}

// number reads an integer that fits T; false when neither place has it.
func number[T int | int16 | int32](p *params, name string, fromConfig *T) (T, bool) {
	if s := p.values.Get(name); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || int64(T(n)) != n {
			p.invalid(name, s, "an integer")
			return 0, false
		}
		return T(n), true
	}
	if fromConfig != nil {
		return *fromConfig, true
	}
	return 0, false
}

// invalid notes a value that is not of its type. The code is the documented
// one, which the parameters of all sinks share.
func (p *params) invalid(name, value, want string) {
	p.fail(errors.ErrMySQLInvalidConfig.Wrap(fmt.Errorf("invalid %s %q, which must be %s", name, value, want)))
}

func (p *params) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}
