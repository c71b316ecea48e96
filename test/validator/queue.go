package validator

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidemark/tidemark/pkg/codec"
)

// maxReported bounds how many offences are listed.
const maxReported = 20

// Queue holds the messages of one changefeed against what the protocols with
// watermarks promise, whatever happened to brokers and servers:
//
//   - after a watermark, a partition has no row up to it that is not a repeat;
//   - within a partition, the versions of a row come first in the order in
//     which they were committed;
//   - a repeat is the same again.
type Queue struct {
	parts map[int32]*queuePart
	first map[string]string // version of a row -> its content
	where map[string]int32  // version of a row -> the partition it was seen in, or many
	late  []lateRow
	rows  int
	again int
	errs  []error
}

type queuePart struct {
	watermark uint64
	last      map[string]uint64 // row -> newest commit-ts that came
	early     []earlyRow        // rows under the watermark: repeats, we hope
}

// earlyRow is a row that came after a watermark which had promised that it
// would not, unless it is a repeat. In which partition it came first is known
// only when all have been read.
type earlyRow struct {
	version   string
	watermark uint64
}

// lateRow is a row that came behind a newer version of it. It may be a repeat
// of what was in another partition while there were fewer of them.
type lateRow struct {
	version   string
	partition int32
	newer     uint64
}

// many stands for more than one partition.
const many = -1

// NewQueue makes a validator that has seen nothing.
func NewQueue() *Queue {
	return &Queue{parts: make(map[int32]*queuePart), first: make(map[string]string), where: make(map[string]int32)}
}

// See takes the next event of a partition.
func (q *Queue) See(partition int32, ev *codec.Event) {
	p := q.parts[partition]
	if p == nil {
		p = &queuePart{last: make(map[string]uint64)}
		q.parts[partition] = p
	}
	switch ev.Kind {
	case codec.EventWatermark:
		p.watermark = max(p.watermark, ev.CommitTs)
	case codec.EventRow:
		q.row(partition, p, ev)
	}
}

func (q *Queue) row(partition int32, p *queuePart, ev *codec.Event) {
	q.rows++
	row := rowName(ev)
	version := fmt.Sprintf("%s@%d/%d", row, ev.CommitTs, ev.Row.Kind)
	content := fmt.Sprint(ev.Row.Old, ev.Row.New)
	if at, known := q.where[version]; !known {
		q.where[version] = partition
	} else if at != partition {
		q.where[version] = many
	}
	if known, repeated := q.first[version]; repeated {
		q.again++
		if known != content {
			q.offend("%s came again in partition %d with other content", version, partition)
		}
		return
	}
	if ev.CommitTs <= p.watermark {
		// Partitions are read one after the other: another may have it first.
		p.early = append(p.early, earlyRow{version, p.watermark})
		return
	}
	q.first[version] = content
	if ev.CommitTs < p.last[row] {
		q.late = append(q.late, lateRow{version, partition, p.last[row]})
	}
	p.last[row] = max(p.last[row], ev.CommitTs)
}

// rowName is the row's identity: its key, or all of it where the message names none.
func rowName(ev *codec.Event) string {
	cells := ev.Row.New
	if len(cells) == 0 {
		cells = ev.Row.Old
	}
	var key, all strings.Builder
	for _, c := range cells {
		fmt.Fprintf(&all, ",%s=%v", c.Name, c.Value)
		if c.Key {
			fmt.Fprintf(&key, ",%s=%v", c.Name, c.Value)
		}
	}
	name := ev.Schema + "." + ev.Table
	if key.Len() == 0 {
		return name + all.String()
	}
	return name + key.String()
}

func (q *Queue) offend(format string, args ...any) {
	if len(q.errs) < maxReported {
		q.errs = append(q.errs, fmt.Errorf(format, args...))
	}
}

// Result returns how many rows were seen, how many of them were repeats, and
// what was wrong. All partitions must have been seen to their ends.
func (q *Queue) Result() (rows, repeats int, err error) {
	for _, l := range q.late {
		if q.where[l.version] != many {
			q.offend("%s came in partition %d after its version of %d", l.version, l.partition, l.newer)
		}
	}
	for id, p := range q.parts {
		for _, e := range p.early {
			if _, ok := q.first[e.version]; !ok {
				q.offend("%s came in partition %d for the first time after the watermark %d", e.version, id, e.watermark)
			} else {
				q.again++
			}
		}
	}
	return q.rows, q.again, errors.Join(q.errs...)
}
