package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/coreos/go-semver/semver"
	"github.com/pingcap/kvproto/pkg/metapb"
	pd "github.com/tikv/pd/client"
	"github.com/tikv/pd/client/opt"

	cerrors "github.com/tidemark/tidemark/pkg/errors"
)

const (
	minVersion        = "7.1.0-alpha" // oldest PD and store that we work with
	tooNewVersion     = "10.0.0"
	versionTries      = 10
	versionPause      = 200 * time.Millisecond
	versionMaxPause   = 2 * time.Second
	versionTimeout    = 5 * time.Second
	versionAnswerSize = 64 << 10
)

var gitSuffix = regexp.MustCompile(`-[0-9]+-g[0-9a-f]{7,}(-dev)?$`)

// ParseVersion reads a release version such as v8.5.3-12-gdeadbee-dirty as a
// semantic version, without what the build appended. The error is ErrNewSemVersion.
func ParseVersion(s string) (*semver.Version, error) {
	clean := strings.TrimSuffix(gitSuffix.ReplaceAllString(s, ""), "-fips")
	clean = strings.TrimPrefix(strings.TrimSuffix(clean, "-dirty"), "v")
	v, err := semver.NewVersion(clean)
	if err != nil {
		return nil, cerrors.ErrNewSemVersion.Wrap(err)
	}
	return v, nil
}

// wireVersion is our release version as stores read it: a semantic version
// without a leading v. One that they cannot read is that of the oldest client to
// them, which gets a message per region and resolved-ts; so that is what a
// version of no known form is sent as.
func wireVersion(release string) string {
	v, err := ParseVersion(release)
	if err != nil {
		return "0.0.0"
	}
	return v.String()
}

// checkVersion says ErrVersionIncompatible outside of the supported range.
func checkVersion(what, version string) error {
	v, err := ParseVersion(version)
	if err != nil {
		return fmt.Errorf("version of %s: %w", what, err)
	}
	if v.LessThan(*semver.New(minVersion)) || !v.LessThan(*semver.New(tooNewVersion)) {
		return cerrors.ErrVersionIncompatible.New(fmt.Sprintf(
			"%s has version %s, supported are %s and later, below %s", what, version, minVersion, tooNewVersion))
	}
	return nil
}

// CheckPDVersion asks the PD endpoints for their version; one that answers is
// enough. ErrVersionIncompatible means that it is too old or too new.
func CheckPDVersion(ctx context.Context, security Security, endpoints []string) error {
	tlsConfig, err := security.TLSConfig()
	if err != nil {
		return fmt.Errorf("load TLS files: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig}, Timeout: versionTimeout}
	defer client.CloseIdleConnections()
	var version, answered string
	err = retry(ctx, versionTries, versionPause, versionMaxPause, func() error {
		var failures []error
		for _, endpoint := range endpoints {
			v, err := pdVersion(ctx, client, endpoint)
			if err == nil {
				version, answered = v, endpoint
				return nil
			}
			failures = append(failures, err)
		}
		return errors.Join(failures...)
	})
	if err != nil {
		return cerrors.ErrAPIGetPDClientFailed.Wrap(err)
	}
	return checkVersion("PD "+answered, version)
}

func pdVersion(ctx context.Context, client *http.Client, endpoint string) (string, error) {
	url := strings.TrimSuffix(endpoint, "/") + "/pd/api/v1/version"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s", url, resp.Status)
	}
	var answer struct {
		Version string `json:"version"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, versionAnswerSize)).Decode(&answer); err != nil {
		return "", fmt.Errorf("%s: %w", url, err)
	}
	return answer.Version, nil
}

// CheckStoreVersions checks every store of the cluster.
// ErrVersionIncompatible names the first one that is too old or too new.
func CheckStoreVersions(ctx context.Context, client pd.Client) error {
	stores, err := client.GetAllStores(ctx, opt.WithExcludeTombstone())
	if err != nil {
		return fmt.Errorf("list stores: %w", err)
	}
	for _, store := range stores {
		if err := checkStoreVersion(store); err != nil {
			return err
		}
	}
	return nil
}

func checkStoreVersion(store *metapb.Store) error {
	for _, label := range store.GetLabels() {
		// Columnar replicas follow the row store and serve no changes.
		if label.GetKey() == "engine" && strings.HasPrefix(label.GetValue(), "tiflash") {
			return nil
		}
	}
	return checkVersion(fmt.Sprintf("TiKV store %d", store.GetId()), store.GetVersion())
}
