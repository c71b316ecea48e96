package changes

import (
	"slices"
	"time"

	"github.com/tidemark/tidemark/pkg/model"
)

const (
	// smallScan is the history, in bytes, below which a scan does not count
	// as a load on memory.
	smallScan = 256 << 10
	// scanBudget is how much history of unfinished scans of one store may lie
	// in memory before no further scan is started beside them.
	scanBudget = 16 << 20
	// leastScans is how many scans of history run at least, so that one is
	// under way while another ends, and before it is known how large they are.
	leastScans = 2
	// recentAge is the age of a checkpoint, in ms, below which a scan has
	// hardly anything to bring.
	recentAge = 5_000
	admitPoll = 20 * time.Millisecond
	// askPause is added to admitPoll for each part that was refused: to ask ten
	// thousand every 20 ms, for as long as a sink is slow, would take a good part of a core.
	askPause = 10 * time.Microsecond
)

// askAgain is when subscriptions that were not admitted are asked again.
func askAgain(refused int) time.Duration { return admitPoll + time.Duration(refused)*askPause }

// scanClass tells what limits the start of a scan.
type scanClass uint8

const (
	scanNone    scanClass = iota
	scanUrgent            // Options.First: nothing
	scanRecent            // a region that was live until just now, or a new table: Config.MaxScans
	scanHistory           // what earlier scans turned out to be
	scanClasses
)

// scan is the state of a part's scan. It is guarded by the store's mutex.
type scan struct {
	class scanClass // scanNone when not running
	bytes int64     // received
}

// scans decides how many scans of one store run at a time. Their rows wait in
// memory until the scan is done, so large ones run two at a time;
// while scans turn out small, many run.
type scans struct {
	most    int // Config.MaxScans
	waiting [scanClasses][]*part
	running [scanClasses]int
	limit   int   // of history scans
	bytes   int64 // that running history scans have brought
}

func newScans(most int) scans { return scans{most: most, limit: min(leastScans, most)} }

func classOf(p *part, now uint64) scanClass {
	switch {
	case p.sub.o.First:
		return scanUrgent
	case model.PhysicalMs(now)-model.PhysicalMs(p.checkpoint()) < recentAge:
		return scanRecent
	default:
		return scanHistory
	}
}

// enqueue takes a part in. One that was interrupted goes first: the rest of
// its span waits for it.
func (s *scans) enqueue(p *part, class scanClass) {
	if p.attempts > 0 {
		s.waiting[class] = slices.Insert(s.waiting[class], 0, p)
		return
	}
	s.waiting[class] = append(s.waiting[class], p)
}

func (s *scans) empty() bool {
	for _, w := range s.waiting {
		if len(w) > 0 {
			return false
		}
	}
	return true
}

// next takes the next part whose scan may start, nil if there is none. The
// first refused parts were not admitted by their owners a moment ago: they are
// not asked again, and next adds to them.
func (s *scans) next(now time.Time, refused *int) *part {
	if len(s.waiting[scanUrgent]) > 0 {
		return s.start(scanUrgent, 0)
	}
	if len(s.waiting[scanRecent]) > 0 && s.running[scanRecent] < s.most {
		return s.start(scanRecent, 0)
	}
	running := s.running[scanHistory]
	if running >= s.limit || (running > 0 && s.bytes > scanBudget) {
		return nil
	}
	var no *Subscription
	for w := s.waiting[scanHistory]; *refused < len(w); *refused++ {
		p := w[*refused]
		if p.sub != no && (p.sub.ended.Load() || p.sub.admit(now)) {
			return s.start(scanHistory, *refused)
		}
		no = p.sub
	}
	return nil
}

func (s *scans) start(class scanClass, i int) *part {
	w := s.waiting[class]
	p := w[i]
	if i == 0 {
		w[0] = nil
		s.waiting[class] = w[1:]
	} else {
		s.waiting[class] = slices.Delete(w, i, i+1)
	}
	p.scan = scan{class: class}
	s.running[class]++
	return p
}

// grew counts bytes that a scan has brought.
func (s *scans) grew(p *part, n int64) {
	p.scan.bytes += n
	if p.scan.class == scanHistory {
		s.bytes += n
	}
}

// ended uncounts a scan if it is running. When it is done, its size says how
// many may run together.
func (s *scans) ended(p *part, done bool) {
	sc := p.scan
	p.scan = scan{}
	if sc.class == scanNone {
		return
	}
	s.running[sc.class]--
	if sc.class != scanHistory {
		return
	}
	s.bytes -= sc.bytes
	switch {
	case !done:
	case sc.bytes < smallScan:
		s.limit = min(s.limit*2, s.most)
	default:
		s.limit = max(s.limit/2, min(leastScans, s.most))
	}
}

// drop takes the waiting parts of a subscription out.
func (s *scans) drop(sub *Subscription) {
	for class, w := range s.waiting {
		s.waiting[class] = slices.DeleteFunc(w, func(p *part) bool { return p.sub == sub })
	}
}

// takeAll takes every waiting part out and starts to learn anew.
func (s *scans) takeAll() []*part {
	var all []*part
	for class, w := range s.waiting {
		all = append(all, w...)
		s.waiting[class] = nil
	}
	s.limit = min(leastScans, s.most)
	return all
}
