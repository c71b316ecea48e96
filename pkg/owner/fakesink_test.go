package owner

import (
	"context"
	"slices"
	"sync"

	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/sink"
)

// fakeSink notes the DDLs and the sync points; gate, if set, holds them up.
type fakeSink struct {
	mu      sync.Mutex
	queries []string
	gate    chan struct{}
	err     error
	markErr error
	marks   []mark
	points  []mark
	tables  []string
}

// mark is a watermark or a sync point, with what had come before it.
type mark struct {
	ts     uint64
	ddls   int
	tables []string
}

func (s *fakeSink) open(context.Context, *etcdmeta.ChangefeedInfo) (DDLSink, error) { return s, nil }

func (s *fakeSink) WriteDDL(ctx context.Context, ev *model.DDLEvent) error {
	if err := s.pass(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = append(s.queries, ev.Query)
	return nil
}

// pass waits at the gate and returns the error that the test wants.
func (s *fakeSink) pass(ctx context.Context) error {
	s.mu.Lock()
	gate, err := s.gate, s.err
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// RecordSyncPoint notes the point behind the DDLs that came before.
func (s *fakeSink) RecordSyncPoint(ctx context.Context, ts uint64) error {
	if err := s.pass(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.points = append(s.points, mark{ts: ts, ddls: len(s.queries)})
	return nil
}

func (s *fakeSink) syncPoints() []mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.points)
}

// set changes what the sink does.
func (s *fakeSink) set(gate chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate, s.err = gate, err
}

// WriteWatermark notes the watermark behind the DDLs that came before.
func (s *fakeSink) WriteWatermark(_ context.Context, ts uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.markErr != nil {
		return s.markErr
	}
	s.marks = append(s.marks, mark{ts: ts, ddls: len(s.queries), tables: s.tables})
	return nil
}

// FollowTables notes the names of the tables.
func (s *fakeSink) FollowTables(tables []*model.Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables = nil
	for _, t := range tables {
		s.tables = append(s.tables, t.Name)
	}
	slices.Sort(s.tables)
}

func (s *fakeSink) watermarks() []mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.marks)
}

func (s *fakeSink) Status() sink.Status { return sink.Status{} }
func (s *fakeSink) Close()              {}

func (s *fakeSink) executed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}
