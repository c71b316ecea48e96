package changes_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"google.golang.org/grpc"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// flood answers the first registration with the same message n times.
type flood struct {
	cdcpb.UnimplementedChangeDataServer
	addr string
	rows []*cdcpb.Event_Row
	n    int
}

// EventFeedV2 implements cdcpb.ChangeDataServer.
func (f *flood) EventFeedV2(s cdcpb.ChangeData_EventFeedV2Server) error {
	req, err := s.Recv()
	if err != nil {
		return nil // the probe
	}
	event := func(rows []*cdcpb.Event_Row) *cdcpb.ChangeDataEvent {
		return &cdcpb.ChangeDataEvent{Events: []*cdcpb.Event{{RegionId: req.RegionId, RequestId: req.RequestId,
			Event: &cdcpb.Event_Entries_{Entries: &cdcpb.Event_Entries{Entries: rows}}}}}
	}
	var ready grpc.PreparedMsg // encoded once, so that the store costs little
	if err := ready.Encode(s, event(f.rows)); err != nil {
		return err
	}
	for range f.n {
		if err := s.SendMsg(&ready); err != nil {
			return err
		}
	}
	<-s.Context().Done()
	return nil
}

// Scan implements changes.Regions.
func (f *flood) Scan(context.Context, []changes.KeyRange, int) ([]changes.Region, error) {
	return []changes.Region{{ID: 1, Version: 1, Leader: 1}}, nil
}

// StoreAddr implements changes.Regions.
func (f *flood) StoreAddr(context.Context, uint64) (string, error) { return f.addr, nil }

// counter counts rows until there are enough.
type counter struct {
	left atomic.Int64
	done chan struct{}
}

func (c *counter) OnRows(rows []model.RawChange) {
	if n := c.left.Add(-int64(len(rows))); n <= 0 && n > -int64(len(rows)) {
		close(c.done)
	}
}
func (c *counter) OnResolved(uint64) {}
func (c *counter) OnError(error)     {}

// BenchmarkReceive measures rows of history from the socket to OnRows; one
// operation is one row of 250 bytes, in messages of 1 MiB.
func BenchmarkReceive(b *testing.B) {
	const perMessage = 1 << 20 / 250
	f := &flood{n: b.N/perMessage + 1}
	for i := range perMessage {
		f.rows = append(f.rows, &cdcpb.Event_Row{Type: cdcpb.Event_COMMITTED, OpType: cdcpb.Event_Row_PUT, StartTs: 1 << 58, CommitTs: 1<<58 + 1,
			Key: fmt.Appendf(nil, "k%018d", i), Value: make([]byte, 205)})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	f.addr = l.Addr().String()
	server := grpc.NewServer()
	cdcpb.RegisterChangeDataServer(server, f)
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(l) })
	client := changes.New(changes.Config{Regions: f, Now: func() uint64 { return 1 }})
	ctx, cancel := context.WithCancel(context.Background())
	running.Go(func() { _ = client.Run(ctx) })
	defer func() {
		cancel()
		server.Stop()
		running.Wait()
	}()
	c := &counter{done: make(chan struct{})}
	c.left.Store(int64(f.n * perMessage))
	b.SetBytes(250)
	b.ReportAllocs()
	b.ResetTimer()
	s := client.Subscribe(changes.Options{Span: everything, StartTs: 1, Consumer: c})
	<-c.done
	b.StopTimer()
	s.Close()
}
