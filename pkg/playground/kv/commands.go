package kv

import (
	"context"

	"github.com/pingcap/kvproto/pkg/coprocessor"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
)

// call runs one command of a batch. A command without an answer would block its client until a time-out, so every kind
// has one, and an error, a panic of unistore included, becomes part of it.
func (s *server) call(ctx context.Context, req *tikvpb.BatchCommandsRequest_Request) *tikvpb.BatchCommandsResponse_Response {
	resp := &tikvpb.BatchCommandsResponse_Response{}
	switch cmd := req.GetCmd().(type) {
	case *tikvpb.BatchCommandsRequest_Request_Get:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_Get{Get: answer(ctx, s, s.KvGet, cmd.Get, func(err error) *kvrpcpb.GetResponse {
			return &kvrpcpb.GetResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_Scan:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_Scan{Scan: answer(ctx, s, s.KvScan, cmd.Scan, func(err error) *kvrpcpb.ScanResponse {
			return &kvrpcpb.ScanResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_Prewrite:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_Prewrite{Prewrite: answer(ctx, s, s.KvPrewrite, cmd.Prewrite, func(err error) *kvrpcpb.PrewriteResponse {
			return &kvrpcpb.PrewriteResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_Commit:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_Commit{Commit: answer(ctx, s, s.KvCommit, cmd.Commit, func(err error) *kvrpcpb.CommitResponse {
			return &kvrpcpb.CommitResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_Import:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_Import{Import: answer(ctx, s, s.KvImport, cmd.Import, func(err error) *kvrpcpb.ImportResponse {
			return &kvrpcpb.ImportResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_Cleanup:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_Cleanup{Cleanup: answer(ctx, s, s.KvCleanup, cmd.Cleanup, func(err error) *kvrpcpb.CleanupResponse {
			return &kvrpcpb.CleanupResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_BatchGet:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_BatchGet{BatchGet: answer(ctx, s, s.KvBatchGet, cmd.BatchGet, func(err error) *kvrpcpb.BatchGetResponse {
			return &kvrpcpb.BatchGetResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_BatchRollback:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_BatchRollback{BatchRollback: answer(ctx, s, s.KvBatchRollback, cmd.BatchRollback, func(err error) *kvrpcpb.BatchRollbackResponse {
			return &kvrpcpb.BatchRollbackResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_ScanLock:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_ScanLock{ScanLock: answer(ctx, s, s.KvScanLock, cmd.ScanLock, func(err error) *kvrpcpb.ScanLockResponse {
			return &kvrpcpb.ScanLockResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_ResolveLock:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_ResolveLock{ResolveLock: answer(ctx, s, s.KvResolveLock, cmd.ResolveLock, func(err error) *kvrpcpb.ResolveLockResponse {
			return &kvrpcpb.ResolveLockResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_GC:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_GC{GC: answer(ctx, s, s.KvGC, cmd.GC, func(err error) *kvrpcpb.GCResponse {
			return &kvrpcpb.GCResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_DeleteRange:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_DeleteRange{DeleteRange: answer(ctx, s, s.KvDeleteRange, cmd.DeleteRange, func(err error) *kvrpcpb.DeleteRangeResponse {
			return &kvrpcpb.DeleteRangeResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_PessimisticLock:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_PessimisticLock{PessimisticLock: answer(ctx, s, s.KvPessimisticLock, cmd.PessimisticLock, func(err error) *kvrpcpb.PessimisticLockResponse {
			return &kvrpcpb.PessimisticLockResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_PessimisticRollback:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_PessimisticRollback{PessimisticRollback: answer(ctx, s, s.KVPessimisticRollback, cmd.PessimisticRollback, func(err error) *kvrpcpb.PessimisticRollbackResponse {
			return &kvrpcpb.PessimisticRollbackResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_CheckTxnStatus:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_CheckTxnStatus{CheckTxnStatus: answer(ctx, s, s.KvCheckTxnStatus, cmd.CheckTxnStatus, func(err error) *kvrpcpb.CheckTxnStatusResponse {
			return &kvrpcpb.CheckTxnStatusResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_TxnHeartBeat:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_TxnHeartBeat{TxnHeartBeat: answer(ctx, s, s.KvTxnHeartBeat, cmd.TxnHeartBeat, func(err error) *kvrpcpb.TxnHeartBeatResponse {
			return &kvrpcpb.TxnHeartBeatResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_CheckSecondaryLocks:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_CheckSecondaryLocks{CheckSecondaryLocks: answer(ctx, s, s.KvCheckSecondaryLocks, cmd.CheckSecondaryLocks, func(err error) *kvrpcpb.CheckSecondaryLocksResponse {
			return &kvrpcpb.CheckSecondaryLocksResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_FlashbackToVersion:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_FlashbackToVersion{FlashbackToVersion: answer(ctx, s, s.KvFlashbackToVersion, cmd.FlashbackToVersion, func(err error) *kvrpcpb.FlashbackToVersionResponse {
			return &kvrpcpb.FlashbackToVersionResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_PrepareFlashbackToVersion:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_PrepareFlashbackToVersion{PrepareFlashbackToVersion: answer(ctx, s, s.KvPrepareFlashbackToVersion, cmd.PrepareFlashbackToVersion, func(err error) *kvrpcpb.PrepareFlashbackToVersionResponse {
			return &kvrpcpb.PrepareFlashbackToVersionResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_Flush:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_Flush{Flush: answer(ctx, s, s.KvFlush, cmd.Flush, func(err error) *kvrpcpb.FlushResponse {
			return &kvrpcpb.FlushResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_BufferBatchGet:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_BufferBatchGet{BufferBatchGet: answer(ctx, s, s.KvBufferBatchGet, cmd.BufferBatchGet, func(err error) *kvrpcpb.BufferBatchGetResponse {
			return &kvrpcpb.BufferBatchGetResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_Coprocessor:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_Coprocessor{Coprocessor: answer(ctx, s, s.Coprocessor, cmd.Coprocessor, func(err error) *coprocessor.Response {
			return &coprocessor.Response{OtherError: err.Error()}
		})}
	case *tikvpb.BatchCommandsRequest_Request_GetHealthFeedback:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_GetHealthFeedback{GetHealthFeedback: answer(ctx, s, s.GetHealthFeedback, cmd.GetHealthFeedback, func(err error) *kvrpcpb.GetHealthFeedbackResponse {
			return &kvrpcpb.GetHealthFeedbackResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_BroadcastTxnStatus:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_BroadcastTxnStatus{BroadcastTxnStatus: answer(ctx, s, s.BroadcastTxnStatus, cmd.BroadcastTxnStatus, func(err error) *kvrpcpb.BroadcastTxnStatusResponse {
			return &kvrpcpb.BroadcastTxnStatusResponse{}
		})}
	case *tikvpb.BatchCommandsRequest_Request_RawGet:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_RawGet{RawGet: answer(ctx, s, s.RawGet, cmd.RawGet, func(err error) *kvrpcpb.RawGetResponse {
			return &kvrpcpb.RawGetResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_RawBatchGet:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_RawBatchGet{RawBatchGet: answer(ctx, s, s.RawBatchGet, cmd.RawBatchGet, func(err error) *kvrpcpb.RawBatchGetResponse {
			return &kvrpcpb.RawBatchGetResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_RawPut:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_RawPut{RawPut: answer(ctx, s, s.RawPut, cmd.RawPut, func(err error) *kvrpcpb.RawPutResponse {
			return &kvrpcpb.RawPutResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_RawBatchPut:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_RawBatchPut{RawBatchPut: answer(ctx, s, s.RawBatchPut, cmd.RawBatchPut, func(err error) *kvrpcpb.RawBatchPutResponse {
			return &kvrpcpb.RawBatchPutResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_RawDelete:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_RawDelete{RawDelete: answer(ctx, s, s.RawDelete, cmd.RawDelete, func(err error) *kvrpcpb.RawDeleteResponse {
			return &kvrpcpb.RawDeleteResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_RawBatchDelete:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_RawBatchDelete{RawBatchDelete: answer(ctx, s, s.RawBatchDelete, cmd.RawBatchDelete, func(err error) *kvrpcpb.RawBatchDeleteResponse {
			return &kvrpcpb.RawBatchDeleteResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_RawScan:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_RawScan{RawScan: answer(ctx, s, s.RawScan, cmd.RawScan, func(err error) *kvrpcpb.RawScanResponse {
			return &kvrpcpb.RawScanResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_RawDeleteRange:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_RawDeleteRange{RawDeleteRange: answer(ctx, s, s.RawDeleteRange, cmd.RawDeleteRange, func(err error) *kvrpcpb.RawDeleteRangeResponse {
			return &kvrpcpb.RawDeleteRangeResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_RawBatchScan:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_RawBatchScan{RawBatchScan: answer(ctx, s, s.RawBatchScan, cmd.RawBatchScan, func(err error) *kvrpcpb.RawBatchScanResponse {
			return &kvrpcpb.RawBatchScanResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_RawCoprocessor:
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_RawCoprocessor{RawCoprocessor: answer(ctx, s, s.RawCoprocessor, cmd.RawCoprocessor, func(err error) *kvrpcpb.RawCoprocessorResponse {
			return &kvrpcpb.RawCoprocessorResponse{RegionError: failed(err)}
		})}
	case *tikvpb.BatchCommandsRequest_Request_Empty:
		r := &tikvpb.BatchCommandsEmptyResponse{TestId: cmd.Empty.GetTestId()}
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_Empty{Empty: r}
	default:
		// A kind newer than this store. Its client takes the connection for broken, which is better than silence.
		resp.Cmd = &tikvpb.BatchCommandsResponse_Response_Empty{Empty: &tikvpb.BatchCommandsEmptyResponse{}}
	}
	return resp
}

func failed(err error) *errorpb.Error { return &errorpb.Error{Message: err.Error()} }

// answer runs the handler of a command; failure makes the answer to an error.
func answer[Q, R any](ctx context.Context, s *server, handler func(context.Context, Q) (R, error), req Q, failure func(error) R) (r R) {
	var err error
	defer func() {
		if err != nil {
			r = failure(err)
		}
	}()
	defer s.recovered("BatchCommands", &err)
	r, err = handler(ctx, req)
	return r
}
