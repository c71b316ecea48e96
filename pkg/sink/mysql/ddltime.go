package mysql

import (
	"strconv"
	"strings"
	"time"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/tidemark/tidemark/pkg/model"
)

// statementTime returns the value for the session variable TIMESTAMP, in
// seconds, with which a DDL must run: a column that is added with DEFAULT
// CURRENT_TIMESTAMP gives the existing rows the time of the statement, which
// has to be the upstream's. "" when the DDL adds no such column.
func statementTime(ev *model.DDLEvent) string {
	if ev.PreInfo == nil || ev.Info == nil {
		return ""
	}
	had := make(map[int64]bool, len(ev.PreInfo.Info.Columns))
	for _, c := range ev.PreInfo.Info.Columns {
		had[c.ID] = true
	}
	at, found := model.TimeOf(ev.StartTs), false
	for _, c := range ev.Info.Info.Columns {
		text, isText := c.DefaultValue.(string)
		if had[c.ID] || !isText || !strings.EqualFold(text, ast.CurrentTimestamp) {
			continue
		}
		found = true
		// TIMESTAMP columns keep the value that upstream rows got, in UTC.
		origin, _ := c.GetOriginDefaultValue().(string)
		if c.GetType() != mysql.TypeTimestamp || c.Version == 0 {
			continue
		}
		if t, err := time.Parse(time.DateTime, origin); err == nil {
			at = t
		}
	}
	if !found {
		return ""
	}
	return strconv.FormatFloat(float64(at.UnixMicro())/1e6, 'f', 6, 64)
}
