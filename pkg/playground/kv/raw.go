package kv

import (
	"context"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
)

// noRaw is the answer to raw commands. A store has one API, and this one's is that of transactions; TiKV refuses in
// the same way what is not of its API.
const noRaw = "raw commands are not supported by this store"

// RawGet implements tikvpb.TikvServer.
func (s *server) RawGet(context.Context, *kvrpcpb.RawGetRequest) (*kvrpcpb.RawGetResponse, error) {
	return &kvrpcpb.RawGetResponse{Error: noRaw}, nil
}

// RawBatchGet implements tikvpb.TikvServer.
func (s *server) RawBatchGet(context.Context, *kvrpcpb.RawBatchGetRequest) (*kvrpcpb.RawBatchGetResponse, error) {
	return &kvrpcpb.RawBatchGetResponse{Pairs: []*kvrpcpb.KvPair{{Error: &kvrpcpb.KeyError{Abort: noRaw}}}}, nil
}

// RawPut implements tikvpb.TikvServer.
func (s *server) RawPut(context.Context, *kvrpcpb.RawPutRequest) (*kvrpcpb.RawPutResponse, error) {
	return &kvrpcpb.RawPutResponse{Error: noRaw}, nil
}

// RawBatchPut implements tikvpb.TikvServer.
func (s *server) RawBatchPut(context.Context, *kvrpcpb.RawBatchPutRequest) (*kvrpcpb.RawBatchPutResponse, error) {
	return &kvrpcpb.RawBatchPutResponse{Error: noRaw}, nil
}

// RawDelete implements tikvpb.TikvServer.
func (s *server) RawDelete(context.Context, *kvrpcpb.RawDeleteRequest) (*kvrpcpb.RawDeleteResponse, error) {
	return &kvrpcpb.RawDeleteResponse{Error: noRaw}, nil
}

// RawBatchDelete implements tikvpb.TikvServer.
func (s *server) RawBatchDelete(context.Context, *kvrpcpb.RawBatchDeleteRequest) (*kvrpcpb.RawBatchDeleteResponse, error) {
	return &kvrpcpb.RawBatchDeleteResponse{Error: noRaw}, nil
}

// RawScan implements tikvpb.TikvServer.
func (s *server) RawScan(context.Context, *kvrpcpb.RawScanRequest) (*kvrpcpb.RawScanResponse, error) {
	return &kvrpcpb.RawScanResponse{Kvs: []*kvrpcpb.KvPair{{Error: &kvrpcpb.KeyError{Abort: noRaw}}}}, nil
}

// RawBatchScan implements tikvpb.TikvServer.
func (s *server) RawBatchScan(context.Context, *kvrpcpb.RawBatchScanRequest) (*kvrpcpb.RawBatchScanResponse, error) {
	return &kvrpcpb.RawBatchScanResponse{Kvs: []*kvrpcpb.KvPair{{Error: &kvrpcpb.KeyError{Abort: noRaw}}}}, nil
}

// RawDeleteRange implements tikvpb.TikvServer.
func (s *server) RawDeleteRange(context.Context, *kvrpcpb.RawDeleteRangeRequest) (*kvrpcpb.RawDeleteRangeResponse, error) {
	return &kvrpcpb.RawDeleteRangeResponse{Error: noRaw}, nil
}

// RawGetKeyTTL implements tikvpb.TikvServer.
func (s *server) RawGetKeyTTL(context.Context, *kvrpcpb.RawGetKeyTTLRequest) (*kvrpcpb.RawGetKeyTTLResponse, error) {
	return &kvrpcpb.RawGetKeyTTLResponse{Error: noRaw}, nil
}

// RawCompareAndSwap implements tikvpb.TikvServer.
func (s *server) RawCompareAndSwap(context.Context, *kvrpcpb.RawCASRequest) (*kvrpcpb.RawCASResponse, error) {
	return &kvrpcpb.RawCASResponse{Error: noRaw}, nil
}

// RawChecksum implements tikvpb.TikvServer.
func (s *server) RawChecksum(context.Context, *kvrpcpb.RawChecksumRequest) (*kvrpcpb.RawChecksumResponse, error) {
	return &kvrpcpb.RawChecksumResponse{Error: noRaw}, nil
}

// RawCoprocessor implements tikvpb.TikvServer.
func (s *server) RawCoprocessor(context.Context, *kvrpcpb.RawCoprocessorRequest) (*kvrpcpb.RawCoprocessorResponse, error) {
	return &kvrpcpb.RawCoprocessorResponse{Error: noRaw}, nil
}
