package configdoc

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEverySettingIsProven: every setting names a test in which changing it
// changes what happens, and the tests that are named are in the tree.
func TestEverySettingIsProven(t *testing.T) {
	known, err := loadMeanings()
	require.NoError(t, err)
	for _, f := range Fields() {
		named := known[f.TOML].tests
		require.NotEmpty(t, named, "no test is named in meanings.txt for %s", f.TOML)
		for _, name := range named {
			require.NoError(t, findTest("../..", name), f.TOML)
		}
	}
}

// TestParametersAreRead: the sinks name every parameter that the page gives
// the URI, and no other that a setting could stand for.
func TestParametersAreRead(t *testing.T) {
	given, err := loadParameters()
	require.NoError(t, err)
	want := map[string]bool{"has-vector-type": true} // in the URI only
	for _, name := range given {
		want[name] = true
	}
	read := map[string]bool{}
	call := regexp.MustCompile(`\b(?:p\.(?:text|boolean|duration|count|lookup)|number)\((?:p, )?"([a-z-]+)"`)
	for _, folder := range []string{"mysql", "kafka"} {
		files, err := filepath.Glob("../../pkg/sink/" + folder + "/*.go")
		require.NoError(t, err)
		for _, path := range files {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			for _, m := range call.FindAllSubmatch(text, -1) {
				read[string(m[1])] = true
			}
		}
	}
	require.Equal(t, want, read)
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
	var all []byte
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		all = append(all, text...)
	}
	if !strings.Contains(string(all), "\nfunc "+part[2]+"(t *testing.T)") {
		return notThere(name + " is not there")
	}
	for _, step := range strings.Split(part[3], "/") {
		quoted := regexp.MustCompile("[\"`]" + strings.ReplaceAll(regexp.QuoteMeta(step), "_", "[_ ]") + "[\"`]")
		if step != "" && !quoted.Match(all) {
			return notThere(name + " has no case " + step)
		}
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
