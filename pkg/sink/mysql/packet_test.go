package mysql

import (
	"fmt"
	"strings"
	"testing"

	gomysql "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/model"
)

// TestRowsNearThePacketLimit writes rows that the server takes alone, but not
// together with others, nor all of them as text.
func TestRowsNearThePacketLimit(t *testing.T) {
	const limit = 1 << 20 // bytes, the server's max_allowed_packet
	addr, db := downstream(t, "packets")
	execAll(t, db, fmt.Sprintf("SET GLOBAL max_allowed_packet=%d", limit))
	t.Cleanup(func() { execAll(t, db, "SET GLOBAL max_allowed_packet=DEFAULT") })
	small, plain, quotes := strings.Repeat("s", 2<<10), strings.Repeat("p", limit-(20<<10)), strings.Repeat("'", limit*2/3)
	for name, tc := range map[string]struct{ parameters, large string }{
		"text":                {"", plain},
		"text, no statements": {"cache-prep-stmts=false", plain},
		"text, one by one":    {"multi-stmt-enable=false", plain},
		"twice as long":       {"", quotes},
	} {
		t.Run(name, func(t *testing.T) {
			u := newTable(t, 100, "CREATE TABLE packets.t (id INT PRIMARY KEY, s MEDIUMTEXT)")
			execAll(t, db, "DROP TABLE IF EXISTS packets.t", u.ddl)
			s := openSink(t, addr, "worker-count=1&"+tc.parameters)
			var rows []model.RawChange
			for id := range 40 {
				text := small
				if id%20 == 19 {
					text = tc.large
				}
				rows = append(rows, u.change(10, 0, nil, row(id, text)))
			}
			require.NoError(t, acked(t, u.write(s, 0, rows...)))
			require.Equal(t, []string{"40|" + fmt.Sprint(38*len(small)+2*len(tc.large))},
				contents(t, db, "SELECT COUNT(*), SUM(LENGTH(s)) FROM packets.t"))
			// Later transactions are written as the settings say.
			require.Equal(t, !strings.Contains(tc.parameters, "multi-stmt-enable=false"), s.workers[0].txn.multi)
			require.True(t, s.workers[0].applier.stmts.batch)
		})
	}
}

// TestPacketTooLarge has a server that refuses what the driver thought to be
// small enough, and then also the row alone.
func TestPacketTooLarge(t *testing.T) {
	s, f := fakeSink(t, "", false)
	refused := 0
	f.answer = func(text string) error {
		if strings.Contains(text, "),(") {
			refused++
			return &gomysql.MySQLError{Number: errPacketTooLarge}
		}
		return nil
	}
	u := newTable(t, 100, simple)
	require.NoError(t, acked(t, u.write(s, 0, u.change(10, 0, nil, row(1, "a")), u.change(10, 0, nil, row(2, "b")))))
	require.Equal(t, 1, refused)
	require.Equal(t, []string{"ROLLBACK", "BEGIN", "INSERT INTO `d`.`t` (`id`,`s`) VALUES (?,?) [1 a]",
		"INSERT INTO `d`.`t` (`id`,`s`) VALUES (?,?) [2 b]", "COMMIT"}, f.sent()[1:])
}
