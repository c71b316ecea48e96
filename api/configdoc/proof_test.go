package configdoc

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// unproven lists the settings that no test is named for yet. It only shrinks:
// a new setting comes with its test.
var unproven = []string{
	"memory-quota",
	"check-gc-safe-point",
	"enable-sync-point",
	"sync-point-interval",
	"sync-point-retention",
	"bdr-mode",
	"enable-table-monitor",
	"changefeed-error-stuck-duration",
	"sql-mode",
	"mounter.worker-num",
	"sink.protocol",
	"sink.schema-registry",
	"sink.csv.null",
	"sink.csv.include-commit-ts",
	"sink.csv.output-old-value",
	"sink.csv.output-handle-key",
	"sink.encoder-concurrency",
	"sink.terminator",
	"sink.enable-partition-separator",
	"sink.enable-kafka-sink-v2",
	"sink.only-output-updated-columns",
	"sink.delete-only-output-handle-key-columns",
	"sink.content-compatible",
	"sink.advance-timeout-in-sec",
	"sink.send-bootstrap-interval-in-sec",
	"sink.send-bootstrap-in-msg-count",
	"sink.send-bootstrap-to-all-partition",
	"sink.send-all-bootstrap-at-start",
	"sink.debezium-disable-schema",
	"sink.debezium.output-old-value",
	"sink.open.output-old-value",
	"consistent.max-log-size",
	"consistent.encoding-worker-num",
	"consistent.flush-worker-num",
	"consistent.use-file-backend",
	"consistent.flush-concurrency",
	"consistent.memory-usage.memory-quota-percentage",
	"scheduler.enable-table-across-nodes",
	"scheduler.region-threshold",
	"scheduler.write-key-threshold",
	"scheduler.region-per-span",
	"integrity.corruption-handle-level",
	"sink.kafka-config.partition-num",
	"sink.kafka-config.replication-factor",
	"sink.kafka-config.kafka-version",
	"sink.kafka-config.max-message-bytes",
	"sink.kafka-config.compression",
	"sink.kafka-config.kafka-client-id",
	"sink.kafka-config.auto-create-topic",
	"sink.kafka-config.dial-timeout",
	"sink.kafka-config.write-timeout",
	"sink.kafka-config.read-timeout",
	"sink.kafka-config.required-acks",
	"sink.kafka-config.sasl-user",
	"sink.kafka-config.sasl-password",
	"sink.kafka-config.sasl-mechanism",
	"sink.kafka-config.sasl-gssapi-auth-type",
	"sink.kafka-config.sasl-gssapi-keytab-path",
	"sink.kafka-config.sasl-gssapi-kerberos-config-path",
	"sink.kafka-config.sasl-gssapi-service-name",
	"sink.kafka-config.sasl-gssapi-user",
	"sink.kafka-config.sasl-gssapi-password",
	"sink.kafka-config.sasl-gssapi-realm",
	"sink.kafka-config.sasl-gssapi-disable-pafxfast",
	"sink.kafka-config.sasl-oauth-client-id",
	"sink.kafka-config.sasl-oauth-client-secret",
	"sink.kafka-config.sasl-oauth-token-url",
	"sink.kafka-config.sasl-oauth-scopes",
	"sink.kafka-config.sasl-oauth-grant-type",
	"sink.kafka-config.sasl-oauth-audience",
	"sink.kafka-config.enable-tls",
	"sink.kafka-config.ca",
	"sink.kafka-config.cert",
	"sink.kafka-config.key",
	"sink.kafka-config.insecure-skip-verify",
	"sink.kafka-config.codec-config.enable-tidb-extension",
	"sink.kafka-config.codec-config.max-batch-size",
	"sink.kafka-config.codec-config.avro-enable-watermark",
	"sink.kafka-config.codec-config.avro-decimal-handling-mode",
	"sink.kafka-config.codec-config.avro-bigint-unsigned-handling-mode",
	"sink.kafka-config.codec-config.encoding-format",
	"sink.kafka-config.large-message-handle.large-message-handle-option",
	"sink.kafka-config.large-message-handle.large-message-handle-compression",
	"sink.kafka-config.large-message-handle.claim-check-storage-uri",
	"sink.kafka-config.large-message-handle.claim-check-raw-value",
	"sink.kafka-config.glue-schema-registry-config.registry-name",
	"sink.kafka-config.glue-schema-registry-config.region",
	"sink.kafka-config.glue-schema-registry-config.access-key",
	"sink.kafka-config.glue-schema-registry-config.secret-access-key",
	"sink.kafka-config.glue-schema-registry-config.token",
	"sink.pulsar-config.tls-trust-certs-file-path",
	"sink.pulsar-config.pulsar-producer-cache-size",
	"sink.pulsar-config.pulsar-version",
	"sink.pulsar-config.compression-type",
	"sink.pulsar-config.authentication-token",
	"sink.pulsar-config.connection-timeout",
	"sink.pulsar-config.operation-timeout",
	"sink.pulsar-config.batching-max-messages",
	"sink.pulsar-config.batching-max-publish-delay",
	"sink.pulsar-config.send-timeout",
	"sink.pulsar-config.token-from-file",
	"sink.pulsar-config.basic-user-name",
	"sink.pulsar-config.basic-password",
	"sink.pulsar-config.auth-tls-certificate-path",
	"sink.pulsar-config.auth-tls-private-key-path",
	"sink.pulsar-config.oauth2.oauth2-issuer-url",
	"sink.pulsar-config.oauth2.oauth2-audience",
	"sink.pulsar-config.oauth2.oauth2-private-key",
	"sink.pulsar-config.oauth2.oauth2-client-id",
	"sink.pulsar-config.oauth2.oauth2-scope",
	"sink.pulsar-config.output-raw-change-event",
	"sink.cloud-storage-config.worker-count",
	"sink.cloud-storage-config.flush-interval",
	"sink.cloud-storage-config.file-size",
	"sink.cloud-storage-config.output-column-id",
	"sink.cloud-storage-config.file-expiration-days",
	"sink.cloud-storage-config.file-cleanup-cron-spec",
	"sink.cloud-storage-config.flush-concurrency",
	"sink.cloud-storage-config.output-raw-change-event",
}

// TestEverySettingIsProven: every setting names a test in which changing it
// changes what happens, and the tests that are named are in the tree.
func TestEverySettingIsProven(t *testing.T) {
	known, err := loadMeanings()
	require.NoError(t, err)
	for _, f := range Fields() {
		named := known[f.TOML].tests
		if slices.Contains(unproven, f.TOML) {
			require.Empty(t, named, "%s has a test now: take it off the list", f.TOML)
			continue
		}
		require.NotEmpty(t, named, "no test is named in meanings.txt for %s", f.TOML)
		for _, name := range named {
			require.NoError(t, findTest("../..", name), f.TOML)
		}
	}
	for _, path := range unproven {
		require.Contains(t, known, path)
	}
}

// testName is how tests are named: folder, function and, after a slash, a
// case of it, as in "pkg/sink/mysql.TestKeys/worker-count".
var testName = regexp.MustCompile(`^([\w/-]+)\.(Test\w+)(?:/(.+))?$`)

// findTest tells whether the test files of a folder declare the function and
// hold the text of the case, in which the tool writes spaces as underscores.
func findTest(root, name string) error {
	part := testName.FindStringSubmatch(name)
	if part == nil {
		return notThere(name + " is not of the form folder.TestFunction/case")
	}
	files, err := filepath.Glob(filepath.Join(root, part[1], "*_test.go"))
	if err != nil {
		return err
	}
	declared := false
	subtest := part[3] == ""
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		declared = declared || strings.Contains(string(text), "\nfunc "+part[2]+"(t *testing.T)")
		for _, quote := range []string{`"`, "`"} {
			subtest = subtest || strings.Contains(string(text), quote+part[3]+quote) ||
				strings.Contains(string(text), quote+strings.ReplaceAll(part[3], "_", " ")+quote)
		}
	}
	if !declared || !subtest {
		return notThere(name + " is not there")
	}
	return nil
}

type notThere string

func (e notThere) Error() string { return string(e) }

func TestFindTest(t *testing.T) {
	for name, found := range map[string]bool{
		"api/configdoc.TestFindTest":                             true,
		"api/configdoc.TestFindTest/memory-quota":                true,
		"api/configdoc.TestFindTes":                              false,
		"api/configdoc.TestFindTest/" + strings.Repeat("no_", 2): false,
		"api.TestFindTest":                                       false,
		"TestFindTest":                                           false,
	} {
		require.Equal(t, found, findTest("../..", name) == nil, name)
	}
}
