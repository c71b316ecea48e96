// Package model holds the domain types that every other package speaks in:
// identifiers, timestamps, tables, row changes and DDL events. It depends on
// no other package of this project.
package model

import "time"

// physicalShift is the number of low bits of a TSO that hold the logical
// counter; the bits above are Unix milliseconds.
const physicalShift = 18

// ComposeTSO builds a TSO from Unix milliseconds and a logical counter.
func ComposeTSO(physicalMs, logical int64) uint64 {
	return uint64(physicalMs<<physicalShift) + uint64(logical)
}

// PhysicalMs returns the Unix milliseconds of a TSO.
func PhysicalMs(tso uint64) int64 { return int64(tso >> physicalShift) }

// Logical returns the logical counter of a TSO.
func Logical(tso uint64) int64 { return int64(tso & (1<<physicalShift - 1)) }

// TimeOf returns the wall-clock time of a TSO, in the local zone.
func TimeOf(tso uint64) time.Time { return time.UnixMilli(PhysicalMs(tso)) }

// TSOFromTime returns the first TSO of t's millisecond.
func TSOFromTime(t time.Time) uint64 { return ComposeTSO(t.UnixMilli(), 0) }
