package dispatch

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/errors"
)

const (
	schemaMark = "{schema}"
	tableMark  = "{table}"
	// maxTopicLength is Kafka's bound on the length of a topic's name.
	maxTopicLength = 249
)

var (
	fixedTopic = regexp.MustCompile(`^[A-Za-z0-9._\-]+$`)
	topicExpr  = regexp.MustCompile(`^[A-Za-z0-9._\-]*(\{schema\})?([A-Za-z0-9._\-]*\{table\})?[A-Za-z0-9._\-]*$`)
	avroExpr   = regexp.MustCompile(`^[A-Za-z0-9._\-]*\{schema\}[A-Za-z0-9._\-]*\{table\}[A-Za-z0-9._\-]*$`)
)

// checkTopicExpr checks a topic expression that is not empty. An error has the
// code ErrKafkaTopicExprInvalid.
func checkTopicExpr(expr, protocol string) error {
	if fixedTopic.MatchString(expr) {
		return nil
	}
	if protocol == config.ProtocolAvro {
		if avroExpr.MatchString(expr) {
			return nil
		}
		return errors.ErrKafkaTopicExprInvalid.Wrap(fmt.Errorf(
			"topic expression %q must have %s before %s with protocol avro", expr, schemaMark, tableMark))
	}
	if topicExpr.MatchString(expr) {
		return nil
	}
	return errors.ErrKafkaTopicExprInvalid.Wrap(fmt.Errorf("topic expression %q", expr))
}

// expandTopic fills a checked expression in.
func expandTopic(expr, schema, table string) string {
	if !strings.ContainsRune(expr, '{') {
		return legalTopic(expr)
	}
	// Both at once: a name must not be taken for a mark.
	return legalTopic(strings.NewReplacer(schemaMark, sanitize(schema), tableMark, sanitize(table)).Replace(expr))
}

// sanitize replaces every character that no topic's name may have.
func sanitize(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, name)
}

// legalTopic bends the names that Kafka refuses although their characters are fine.
func legalTopic(name string) string {
	switch {
	case name == ".":
		return "_"
	case name == "..":
		return "__"
	case len(name) > maxTopicLength:
		return name[:maxTopicLength]
	}
	return name
}
