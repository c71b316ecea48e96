package peer

import (
	"time"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/peer/peerpb"
)

// FeedKey names a run on the wire.
func FeedKey(id model.ChangefeedID, epoch uint64) *peerpb.FeedKey {
	return &peerpb.FeedKey{Namespace: id.Namespace, Id: id.ID, Epoch: epoch}
}

// FeedID reads the changefeed's name of a key.
func FeedID(key *peerpb.FeedKey) model.ChangefeedID {
	return model.ChangefeedID{Namespace: key.GetNamespace(), ID: key.GetId()}
}

// ToSpan puts a span on the wire; a whole table needs only its id.
func ToSpan(s model.Span) *peerpb.Span {
	if s.Whole() {
		return &peerpb.Span{TableId: s.TableID}
	}
	return &peerpb.Span{TableId: s.TableID, StartKey: s.StartKey, EndKey: s.EndKey}
}

// FromSpan reads a span.
func FromSpan(s *peerpb.Span) model.Span {
	if len(s.GetStartKey()) == 0 && len(s.GetEndKey()) == 0 {
		return model.TableSpan(s.GetTableId())
	}
	return model.Span{TableID: s.TableId, StartKey: s.StartKey, EndKey: s.EndKey}
}

// ToStall puts a stall on the wire; nil stays nil.
func ToStall(s *model.Stall) *peerpb.Stall {
	if s == nil {
		return nil
	}
	p := &peerpb.Stall{SinceUnixMs: s.Since.UnixMilli(), Reason: s.Reason, Detail: s.Detail}
	if s.RetryAt != nil {
		p.RetryAtUnixMs = s.RetryAt.UnixMilli()
	}
	return p
}

// FromStall reads a stall; nil stays nil.
func FromStall(p *peerpb.Stall) *model.Stall {
	if p == nil {
		return nil
	}
	s := &model.Stall{Since: time.UnixMilli(p.SinceUnixMs), Reason: p.Reason, Detail: p.Detail}
	if p.RetryAtUnixMs != 0 {
		at := time.UnixMilli(p.RetryAtUnixMs)
		s.RetryAt = &at
	}
	return s
}
