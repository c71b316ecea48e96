package kv

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"

	"github.com/pingcap/kvproto/pkg/coprocessor"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/mpp"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// server is unistore's gRPC server with what that lacks, or what a change feed needs done differently.
type server struct {
	*tikv.Server
	router *regionRouter
	feed   *feed
	writer *writer
	clock  *clock
	logger *zap.Logger
}

var _ tikvpb.TikvServer = (*server)(nil)

// KvGet implements tikvpb.TikvServer.
func (s *server) KvGet(ctx context.Context, req *kvrpcpb.GetRequest) (*kvrpcpb.GetResponse, error) {
	if err := s.router.checkKeys(req.Context, req.Key); err != nil {
		return &kvrpcpb.GetResponse{RegionError: err}, nil
	}
	return s.Server.KvGet(ctx, req)
}

// KvBatchGet implements tikvpb.TikvServer.
func (s *server) KvBatchGet(ctx context.Context, req *kvrpcpb.BatchGetRequest) (*kvrpcpb.BatchGetResponse, error) {
	if err := s.router.checkKeys(req.Context, req.Keys...); err != nil {
		return &kvrpcpb.BatchGetResponse{RegionError: err}, nil
	}
	return s.Server.KvBatchGet(ctx, req)
}

// KvPessimisticLock implements tikvpb.TikvServer.
func (s *server) KvPessimisticLock(ctx context.Context, req *kvrpcpb.PessimisticLockRequest) (*kvrpcpb.PessimisticLockResponse, error) {
	if err := s.router.checkMutations(req.Context, req.Mutations); err != nil {
		return &kvrpcpb.PessimisticLockResponse{RegionError: err}, nil
	}
	return s.Server.KvPessimisticLock(ctx, req)
}

// KvCommit implements tikvpb.TikvServer.
func (s *server) KvCommit(ctx context.Context, req *kvrpcpb.CommitRequest) (*kvrpcpb.CommitResponse, error) {
	if err := s.router.checkKeys(req.Context, req.Keys...); err != nil {
		return &kvrpcpb.CommitResponse{RegionError: err}, nil
	}
	return s.Server.KvCommit(ctx, req)
}

// KvPrewrite implements tikvpb.TikvServer.
func (s *server) KvPrewrite(ctx context.Context, req *kvrpcpb.PrewriteRequest) (*kvrpcpb.PrewriteResponse, error) {
	if err := s.router.checkMutations(req.Context, req.Mutations); err != nil {
		return &kvrpcpb.PrewriteResponse{RegionError: err}, nil
	}
	onePC, async := req.TryOnePc, req.UseAsyncCommit // unistore changes the request
	if !onePC && !async {
		return s.Server.KvPrewrite(ctx, req)
	}
	past, err := s.clock.isPast(ctx, req.StartVersion)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	if !past {
		// Unistore ends the process when a commit-ts would be below the start-ts.
		abort := fmt.Sprintf("start-ts %d is in the future", req.StartVersion)
		return &kvrpcpb.PrewriteResponse{Errors: []*kvrpcpb.KeyError{{Abort: abort}}}, nil
	}
	defer s.feed.guardPrewrite(req.Mutations)()
	resp, err := s.Server.KvPrewrite(ctx, req)
	if err == nil {
		s.answerRetry(req, resp, onePC, async)
	}
	return resp, err
}

// answerRetry completes the answer to a prewrite that was done before and whose first answer got lost. Unistore leaves
// out the timestamps of async commit then, and takes a finished 1PC for a conflict.
func (s *server) answerRetry(req *kvrpcpb.PrewriteRequest, resp *kvrpcpb.PrewriteResponse, onePC, async bool) {
	if len(resp.Errors) > 0 {
		conflict := resp.Errors[0].GetConflict()
		if conflict == nil || conflict.ConflictTs != req.StartVersion {
			return
		}
		resp.Errors = nil
		if onePC {
			resp.OnePcCommitTs = conflict.ConflictCommitTs
		} else {
			resp.MinCommitTs = conflict.ConflictCommitTs
		}
		return
	}
	if !async || resp.RegionError != nil || resp.MinCommitTs != 0 || resp.OnePcCommitTs != 0 {
		return
	}
	var buf []byte
	for _, m := range req.Mutations {
		if buf = s.feed.locks.mem.Get(m.Key, buf); len(buf) == 0 {
			continue
		}
		if h := lockHeader(buf); h.StartTS == req.StartVersion && h.UseAsyncCommit {
			resp.MinCommitTs = max(resp.MinCommitTs, h.MinCommitTS)
		}
	}
}

// KvFlush implements tikvpb.TikvServer.
func (s *server) KvFlush(ctx context.Context, req *kvrpcpb.FlushRequest) (*kvrpcpb.FlushResponse, error) {
	if err := s.router.checkMutations(req.Context, req.Mutations); err != nil {
		return &kvrpcpb.FlushResponse{RegionError: err}, nil
	}
	s.writer.flushes.Store(req.Context, req)
	defer s.writer.flushes.Delete(req.Context)
	return s.Server.KvFlush(ctx, req)
}

// KvScanLock implements tikvpb.TikvServer. Unlike unistore's it honours the keys of the request, which clients page by.
func (s *server) KvScanLock(_ context.Context, req *kvrpcpb.ScanLockRequest) (*kvrpcpb.ScanLockResponse, error) {
	r, regionErr := s.router.find(req.Context)
	if regionErr != nil {
		return &kvrpcpb.ScanLockResponse{RegionError: regionErr}, nil
	}
	start, end := req.StartKey, req.EndKey
	if string(start) < string(r.rawStart) {
		start = r.rawStart
	}
	if len(end) == 0 || !beforeEnd(end, r.rawEnd) {
		end = r.rawEnd
	}
	limit := int(req.Limit)
	if limit == 0 {
		limit = math.MaxInt
	}
	resp := &kvrpcpb.ScanLockResponse{}
	for it := s.feed.locks.iterate(start); it.Valid() && beforeEnd(it.Key(), end); it.Next() {
		if len(resp.Locks) == limit {
			break
		}
		if lockHeader(it.Value()).StartTS <= req.MaxVersion {
			lock := mvcc.DecodeLock(it.Value())
			resp.Locks = append(resp.Locks, lock.ToLockInfo(append([]byte(nil), it.Key()...)))
		}
	}
	return resp, nil
}

// KvGC implements tikvpb.TikvServer. Old versions stay.
func (s *server) KvGC(_ context.Context, req *kvrpcpb.GCRequest) (*kvrpcpb.GCResponse, error) {
	_, err := s.router.find(req.Context)
	return &kvrpcpb.GCResponse{RegionError: err}, nil
}

// UnsafeDestroyRange implements tikvpb.TikvServer. No transaction reads the range any more, and nothing is removed.
func (s *server) UnsafeDestroyRange(context.Context, *kvrpcpb.UnsafeDestroyRangeRequest) (*kvrpcpb.UnsafeDestroyRangeResponse, error) {
	return &kvrpcpb.UnsafeDestroyRangeResponse{}, nil
}

// SplitRegion implements tikvpb.TikvServer.
func (s *server) SplitRegion(ctx context.Context, req *kvrpcpb.SplitRegionRequest) (*kvrpcpb.SplitRegionResponse, error) {
	return s.router.split(ctx, req), nil
}

// GetStoreSafeTS implements tikvpb.TikvServer.
func (s *server) GetStoreSafeTS(ctx context.Context, _ *kvrpcpb.StoreSafeTSRequest) (*kvrpcpb.StoreSafeTSResponse, error) {
	ts, err := s.feed.safeTs(ctx)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &kvrpcpb.StoreSafeTSResponse{SafeTs: ts}, nil
}

// CoprocessorStream implements tikvpb.TikvServer.
func (s *server) CoprocessorStream(req *coprocessor.Request, stream tikvpb.Tikv_CoprocessorStreamServer) error {
	resp, err := s.Coprocessor(stream.Context(), req)
	if err != nil {
		return err
	}
	return stream.Send(resp)
}

// GetLockWaitInfo implements tikvpb.TikvServer. Waits are not recorded.
func (s *server) GetLockWaitInfo(context.Context, *kvrpcpb.GetLockWaitInfoRequest) (*kvrpcpb.GetLockWaitInfoResponse, error) {
	return &kvrpcpb.GetLockWaitInfoResponse{}, nil
}

// BroadcastTxnStatus implements tikvpb.TikvServer. It is a hint that nothing here needs.
func (s *server) BroadcastTxnStatus(context.Context, *kvrpcpb.BroadcastTxnStatusRequest) (*kvrpcpb.BroadcastTxnStatusResponse, error) {
	return &kvrpcpb.BroadcastTxnStatusResponse{}, nil
}

// GetHealthFeedback implements tikvpb.TikvServer.
func (s *server) GetHealthFeedback(context.Context, *kvrpcpb.GetHealthFeedbackRequest) (*kvrpcpb.GetHealthFeedbackResponse, error) {
	const healthy = 1 // the best slow score
	return &kvrpcpb.GetHealthFeedbackResponse{
		HealthFeedback: &kvrpcpb.HealthFeedback{StoreId: s.router.store.Id, SlowScore: healthy},
	}, nil
}

// DispatchMPPTask implements tikvpb.TikvServer. MPP is TiFlash's.
func (s *server) DispatchMPPTask(ctx context.Context, req *mpp.DispatchTaskRequest) (*mpp.DispatchTaskResponse, error) {
	return s.UnimplementedTikvServer.DispatchMPPTask(ctx, req)
}

// CancelMPPTask implements tikvpb.TikvServer.
func (s *server) CancelMPPTask(ctx context.Context, req *mpp.CancelTaskRequest) (*mpp.CancelTaskResponse, error) {
	return s.UnimplementedTikvServer.CancelMPPTask(ctx, req)
}

// EstablishMPPConnection implements tikvpb.TikvServer.
func (s *server) EstablishMPPConnection(req *mpp.EstablishMPPConnectionRequest, stream tikvpb.Tikv_EstablishMPPConnectionServer) error {
	return s.UnimplementedTikvServer.EstablishMPPConnection(req, stream)
}

// Compact implements tikvpb.TikvServer. It is TiFlash's.
func (s *server) Compact(ctx context.Context, req *kvrpcpb.CompactRequest) (*kvrpcpb.CompactResponse, error) {
	return s.UnimplementedTikvServer.Compact(ctx, req)
}

// CheckLeader implements tikvpb.TikvServer. It is for other stores, and there are none.
func (s *server) CheckLeader(ctx context.Context, req *kvrpcpb.CheckLeaderRequest) (*kvrpcpb.CheckLeaderResponse, error) {
	return s.UnimplementedTikvServer.CheckLeader(ctx, req)
}

// recovered turns a panic of unistore, which has some for requests that it does not expect, into an error of the call.
func (s *server) recovered(method string, err *error) {
	if p := recover(); p != nil {
		s.logger.Error("request failed", zap.String("method", method), zap.Any("panic", p),
			zap.ByteString("stack", debug.Stack()))
		*err = status.Errorf(codes.Internal, "%s: %v", method, p)
	}
}

func (s *server) recoverUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	defer s.recovered(info.FullMethod, &err)
	return handle(ctx, req)
}

func (s *server) recoverStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)
	return handle(srv, stream)
}
