// Package expr evaluates SQL conditions over the rows of a table with TiDB's
// expression engine, as a SELECT on the upstream would: with the default SQL
// mode, and with lossy conversions as warnings that nobody reads.
//
// TiDB's own builder of expressions lives in its planner, which brings the
// whole database with it. The builder here makes the same expressions from
// the same syntax trees and needs only pkg/expression.
package expr
