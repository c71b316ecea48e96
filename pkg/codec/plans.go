package codec

import "github.com/tidemark/tidemark/pkg/model"

// maxPlans bounds how many table versions one encoder keeps its plans of.
const maxPlans = 256

// Plans keeps what an encoder prepares once per table version, such as the
// escaped names of the columns. The zero value is ready for use.
type Plans[P any] struct {
	lastTable *model.Table
	last      *P
	plans     map[*model.Table]*P
}

// Get returns the plan of a table, made by build when it is not there.
func (p *Plans[P]) Get(t *model.Table, build func(*model.Table) *P) *P {
	if t == p.lastTable {
		return p.last
	}
	plan := p.plans[t]
	if plan == nil {
		if p.plans == nil || len(p.plans) >= maxPlans {
			p.plans = make(map[*model.Table]*P)
		}
		plan = build(t)
		p.plans[t] = plan
	}
	p.lastTable, p.last = t, plan
	return plan
}
