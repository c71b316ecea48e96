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
	"sink.csv.null",
	"sink.csv.include-commit-ts",
	"sink.csv.output-old-value",
	"sink.csv.output-handle-key",
	"sink.encoder-concurrency",
	"sink.terminator",
	"sink.enable-partition-separator",
	"sink.enable-kafka-sink-v2",
	"sink.advance-timeout-in-sec",
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
