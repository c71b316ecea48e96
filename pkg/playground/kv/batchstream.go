package kv

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/pingcap/kvproto/pkg/tikvpb"
)

// batchAnswers is how many answers may wait to be sent together.
const batchAnswers = 1024

type batchAnswer struct {
	id   uint64
	resp *tikvpb.BatchCommandsResponse_Response
}

// BatchCommands implements tikvpb.TikvServer. Every command runs in its own goroutine, as some wait for locks;
// answers go out as they come, as many in a message as there are.
func (s *server) BatchCommands(stream tikvpb.Tikv_BatchCommandsServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	answers := make(chan batchAnswer, batchAnswers)
	var commands sync.WaitGroup
	var sendErr error
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if sendErr = sendAnswers(stream, answers); sendErr != nil {
			cancel()
			for range answers { // let commands that still run hand over and end
				continue
			}
		}
	}()
	err := s.receiveCommands(ctx, stream, &commands, answers)
	cancel()
	commands.Wait()
	close(answers)
	<-sent
	return errors.Join(err, sendErr)
}

func (s *server) receiveCommands(ctx context.Context, stream tikvpb.Tikv_BatchCommandsServer, commands *sync.WaitGroup, answers chan<- batchAnswer) error {
	for {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for i, req := range batch.GetRequests() {
			id := batch.GetRequestIds()[i]
			commands.Add(1)
			go func() {
				defer commands.Done()
				answers <- batchAnswer{id: id, resp: s.call(ctx, req)}
			}()
		}
	}
}

func sendAnswers(stream tikvpb.Tikv_BatchCommandsServer, answers <-chan batchAnswer) error {
	for a := range answers {
		batch := &tikvpb.BatchCommandsResponse{
			Responses: []*tikvpb.BatchCommandsResponse_Response{a.resp}, RequestIds: []uint64{a.id},
		}
		for n := len(answers); n > 0; n-- {
			a := <-answers
			batch.Responses = append(batch.Responses, a.resp)
			batch.RequestIds = append(batch.RequestIds, a.id)
		}
		if err := stream.Send(batch); err != nil {
			return err
		}
	}
	return nil
}
