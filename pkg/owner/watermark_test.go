package owner

import (
	stderrors "errors"
	"testing"
	"time"

	timodel "github.com/pingcap/tidb/pkg/meta/model"
	"github.com/stretchr/testify/require"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
)

func toKafka(i *etcdmeta.ChangefeedInfo) {
	i.SinkURI = "kafka://127.0.0.1:9092/topic?protocol=canal-json"
	protocol := config.ProtocolCanalJSON
	i.Config.Sink.Protocol = &protocol
}

func TestWatermarks(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	c.sink.gate = make(chan struct{})
	c.startOwner(c.addCapture("c-a"))
	c.create(toKafka)
	c.waitCheckpoint(200)
	eventually(t, "the first watermark", func() bool { return len(c.sink.watermarks()) > 0 })
	require.Equal(t, []string{"a"}, c.sink.watermarks()[0].tables)

	c.shift.Add(int64(watermarkEvery))
	c.schema.define(220, table(1, "a"), table(2, "b"))
	c.schema.advance(300, ddl(220, timodel.ActionCreateTable, "create table b"))
	c.waitCheckpoint(220)
	c.shift.Add(int64(watermarkEvery))
	close(c.sink.gate)
	c.waitCheckpoint(300)
	eventually(t, "the watermark behind the DDL, at once", func() bool {
		marks := c.sink.watermarks()
		last := marks[len(marks)-1]
		return last.ts >= 220 && last.ddls == 1 && len(last.tables) == 2
	})
	previous := uint64(0)
	for _, m := range c.sink.watermarks() {
		require.Greater(t, m.ts, previous)
		require.Equal(t, m.ts >= 220, m.ddls == 1, "a watermark at or behind a DDL comes after it")
		previous = m.ts
	}
	c.schema.advance(310)
	c.waitCheckpoint(310)
	c.shift.Add(int64(watermarkEvery))
	eventually(t, "a later watermark without a DDL", func() bool {
		marks := c.sink.watermarks()
		return marks[len(marks)-1].ts == 310
	})
}

// The target is told before the changefeed is finished: there is nobody to tell
// it later.
func TestLastWatermarkIsTheTarget(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	c.startOwner(c.addCapture("c-a"))
	c.create(toKafka, func(i *etcdmeta.ChangefeedInfo) { i.TargetTs = 210 })
	eventually(t, "the first watermark", func() bool { return len(c.sink.watermarks()) > 0 })
	c.schema.advance(300)
	c.waitState(model.StateFinished)
	require.Equal(t, uint64(210), c.stored().Status.CheckpointTs)
	marks := c.sink.watermarks()
	require.Equal(t, uint64(210), marks[len(marks)-1].ts)
}

func TestNoWatermarksToDatabases(t *testing.T) {
	require.False(t, takesWatermarks("mysql://h/"))
	require.False(t, takesWatermarks("blackhole://"))
	require.True(t, takesWatermarks("kafka+ssl://h/t"))
	require.True(t, takesWatermarks("s3://b/p"))
	require.False(t, takesWatermarks("://\x7f"))
}

func TestFailingWatermark(t *testing.T) {
	c := newCluster(t, newFakeSchema(200, table(1, "a")))
	c.sink.markErr = stderrors.New("no broker")
	c.startOwner(c.addCapture("c-a"))
	c.create(toKafka)
	eventually(t, "an error of the changefeed", func() bool {
		e := c.view()
		return e != nil && e.Info.Error != nil && e.Info.State != model.StateNormal
	})
	require.Contains(t, c.view().Info.Error.Message, "no broker")
	c.sink.mu.Lock()
	c.sink.markErr = nil
	c.sink.mu.Unlock()
	c.shift.Add(int64(time.Minute))
	c.submit(model.AdminStop, 0)
	c.submit(model.AdminResume, 0)
	eventually(t, "watermarks again", func() bool { return len(c.sink.watermarks()) > 0 })
}
