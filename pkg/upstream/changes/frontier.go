package changes

// frontier keeps the resolved-ts of the parts of a span and their minimum. A
// store tells about thousands of regions at once, so the minimum is searched
// anew only when the last part that held it has moved.
type frontier struct {
	parts   []*part
	ts      []uint64 // by part.slot
	least   uint64
	holders int // parts at least; 0 when least is out of date
}

func (f *frontier) add(p *part, ts uint64) {
	p.slot = len(f.parts)
	f.parts = append(f.parts, p)
	f.ts = append(f.ts, ts)
	f.holders = 0
}

func (f *frontier) remove(p *part) {
	last := len(f.parts) - 1
	moved := f.parts[last]
	f.parts[p.slot], f.ts[p.slot] = moved, f.ts[last]
	moved.slot = p.slot
	f.parts[last] = nil
	f.parts, f.ts = f.parts[:last], f.ts[:last]
	p.slot = -1
	f.holders = 0
}

// raise lifts one part and tells whether the minimum may have risen.
func (f *frontier) raise(p *part, ts uint64) bool {
	old := f.ts[p.slot]
	if ts <= old {
		return false
	}
	f.ts[p.slot] = ts
	if f.holders > 0 && old == f.least {
		f.holders--
	}
	return f.holders == 0
}

// minimum is the resolved-ts of the whole span.
func (f *frontier) minimum() uint64 {
	if f.holders > 0 {
		return f.least
	}
	f.least = f.ts[0]
	for _, ts := range f.ts {
		switch {
		case ts < f.least:
			f.least, f.holders = ts, 1
		case ts == f.least:
			f.holders++
		}
	}
	return f.least
}

// slowest is a part that holds the minimum, one that is not live if there is
// such a part.
func (f *frontier) slowest() *part {
	least := f.minimum()
	var found *part
	for i, ts := range f.ts {
		if ts != least {
			continue
		}
		if !f.parts[i].ready {
			return f.parts[i]
		}
		found = f.parts[i]
	}
	return found
}
