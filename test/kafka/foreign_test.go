package kafka

import (
	"context"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
)

// TestForeign feeds the reader a message that was written by hand.
func TestForeign(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	c, err := Start(ctx, t.TempDir(), 1)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.CreateTopic("t", 2, 1, nil))
	cfg := ClientConfig()
	cfg.Producer.Return.Successes = true
	p, err := sarama.NewSyncProducer(c.Addrs(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	_, _, err = p.SendMessage(&sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(
		`{"id":0,"database":"d","table":"t","pkNames":["id"],"isDdl":false,"type":"UPDATE","es":1,"ts":1,"sql":"",` +
			`"sqlType":{"id":4,"v":12},"mysqlType":{"id":"int","v":"varchar"},"old":[{"id":"1","v":null}],"data":[{"id":"1","v":"é"}]}`)})
	require.NoError(t, err)
	changes, err := ReadForeign(ctx, "canal-json", c.Addrs()[0], "t", "t", "ROW<`id` INT, `v` STRING>")
	require.NoError(t, err)
	one, text := "1", "é"
	require.Equal(t, []Change{
		{Op: "-U", Row: map[string]*string{"id": &one, "v": nil}},
		{Op: "+U", Row: map[string]*string{"id": &one, "v": &text}},
	}, changes)
}
