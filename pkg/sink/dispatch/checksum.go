package dispatch

import (
	"github.com/tidemark/tidemark/pkg/codec"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/mounter"
)

// VerifyChecksums makes Read verify the upstream's row checksums and show them
// in the events. It calls corrupted for a row whose checksum does not fit, once
// per event; an error of that is Read's.
func (r *Reader) VerifyChecksums(corrupted func(t *model.Table, c *model.RawChange) error) {
	r.verifier, r.corrupted = mounter.NewVerifier(), corrupted
}

// verify fills the event's checksum in.
func (r *Reader) verify(p *Plan, c *model.RawChange, half Half, ev *codec.RowEvent) error {
	sum, err := r.verifier.Verify(p.full, c)
	if err != nil || sum == nil {
		return err
	}
	switch half {
	case OldHalf:
		sum.Current = 0
	case NewHalf:
		sum.Previous = 0
	}
	ev.Checksum = sum
	if sum.Corrupted {
		return r.corrupted(p.full, c)
	}
	return nil
}
