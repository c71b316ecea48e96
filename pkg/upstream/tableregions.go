package upstream

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/tikv/client-go/v2/util/codec"
	"github.com/tikv/pd/client/clients/router"
	pdhttp "github.com/tikv/pd/client/http"

	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/upstream/changes"
)

// regionsPage is how many regions are asked for at once.
const regionsPage = 1024

// TableRegions lists the regions of a span in order of keys. With written it
// also tells how many keys were written lately, which PD answers more slowly.
// It fails when PD does not answer, or knows no region for a part of the span.
func (u *Upstream) TableRegions(ctx context.Context, span model.Span, written bool) ([]model.TableRegion, error) {
	page := scanPage(&regions{pd: u.pd})
	if written {
		page = u.writtenPage
	}
	return listRegions(ctx, span, page)
}

// regionPage lists the first regions of a range of encoded keys, and where the
// last of them ends; that is empty for the last region of all.
type regionPage func(ctx context.Context, start, end []byte) (list []model.TableRegion, next []byte, err error)

func listRegions(ctx context.Context, span model.Span, page regionPage) ([]model.TableRegion, error) {
	start, end := codec.EncodeBytes(nil, span.StartKey), codec.EncodeBytes(nil, span.EndKey)
	var all []model.TableRegion
	for {
		list, next, err := page(ctx, start, end)
		if err != nil {
			return nil, fmt.Errorf("list the regions of table %d: %w", span.TableID, err)
		}
		all = append(all, list...)
		switch {
		case len(next) == 0 || bytes.Compare(next, end) >= 0:
			return all, nil
		case bytes.Compare(next, start) <= 0:
			return nil, fmt.Errorf("PD knows no region of table %d behind %X", span.TableID, start)
		}
		start = next
	}
}

func scanPage(r *regions) regionPage {
	return func(ctx context.Context, start, end []byte) ([]model.TableRegion, []byte, error) {
		found, err := r.Scan(ctx, []changes.KeyRange{{Start: start, End: end}}, regionsPage)
		if err != nil || len(found) == 0 {
			return nil, start, err
		}
		list := make([]model.TableRegion, len(found))
		for i, f := range found {
			list[i].Start = rawBorder(f.Start)
		}
		return list, found[len(found)-1].End, nil
	}
}

// writtenPage is a regionPage that tells what was written.
func (u *Upstream) writtenPage(ctx context.Context, start, end []byte) ([]model.TableRegion, []byte, error) {
	found, err := u.pdHTTP.GetRegionsByKeyRange(ctx, router.NewKeyRange(start, end), regionsPage)
	if err != nil {
		return nil, nil, err
	}
	return writtenRegions(found, start)
}

// writtenRegions reads PD's answer for a range that begins at start.
func writtenRegions(found *pdhttp.RegionsInfo, start []byte) ([]model.TableRegion, []byte, error) {
	if len(found.Regions) == 0 {
		return nil, start, nil
	}
	list := make([]model.TableRegion, len(found.Regions))
	var next []byte
	for i, r := range found.Regions {
		begin, err := hex.DecodeString(r.StartKey)
		last, endErr := hex.DecodeString(r.EndKey)
		if err = errors.Join(err, endErr); err != nil {
			return nil, nil, fmt.Errorf("keys of region %d: %w", r.ID, err)
		}
		list[i] = model.TableRegion{Start: rawBorder(begin), WrittenKeys: r.WrittenKeys}
		next = last
	}
	return list, next, nil
}

// rawBorder decodes the begin of a region. One that is no encoded key, at
// which nothing can be cut, gives nil.
func rawBorder(encoded []byte) []byte {
	_, raw, err := codec.DecodeBytes(encoded, nil)
	if err != nil {
		return nil
	}
	return raw
}
