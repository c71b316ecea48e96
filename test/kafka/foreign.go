package kafka

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
)

// Change is what a reader of another project understood of one change. Op is
// Flink's: +I, -U, +U or -D.
type Change struct {
	Op  string             `json:"op"`
	Row map[string]*string `json:"row"`
}

// ReadForeign lets a program that is built on other projects' libraries read a
// topic from its start to its present end. The formats and their arguments:
//
//	canal-json, debezium-json, maxwell-json (Flink): table, Flink's row type
//	canal (Canal's protobuf): table
//	avro (Apache Avro): address of the schema registry
func ReadForeign(ctx context.Context, format, broker, topic string, args ...string) ([]Change, error) {
	path, err := classpath(ctx, "foreign")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "java", append([]string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", path,
		"tidemark.Main", format, broker, topic}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s reader: %w\n%s", format, err, errs.Bytes())
	}
	var changes []Change
	lines := bufio.NewScanner(&out)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var c Change
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	return changes, lines.Err()
}
