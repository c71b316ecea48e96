package config

import (
	"net/url"
	"strings"
)

// SinkURI is a sink's address, which may hold a password and other secrets.
// It prints masked everywhere; Reveal gives the real text. Metadata in etcd
// and TOML hold the real text, so it marshals unmasked as JSON.
type SinkURI string

// Reveal returns the URI with its secrets, for dialling and storing only.
func (u SinkURI) Reveal() string { return string(u) }

// String masks the URI.
func (u SinkURI) String() string { return MaskSinkURI(string(u)) }

// GoString keeps %#v from printing secrets.
func (u SinkURI) GoString() string { return u.String() }

// secretParams are the query keys whose values are masked.
func secretParams() []string {
	return []string{
		"sasl-password", "sasl-gssapi-password", "access-key", "secret-access-key",
		"session-token", "account-key", "sas-token", "encryption-key", "access-token",
		"authentication-token", "basic-password", "sasl-oauth-client-secret",
	}
}

// MaskSinkURI replaces the password and secret query values by xxxxx. A text
// that is no URL is hidden whole.
func MaskSinkURI(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "xxxxx"
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), "xxxxx")
	}
	q := u.Query()
	masked := false
	for key := range q {
		for _, secret := range secretParams() {
			if strings.EqualFold(strings.ReplaceAll(key, "_", "-"), secret) {
				q.Set(key, "xxxxx")
				masked = true
			}
		}
	}
	if masked {
		u.RawQuery = q.Encode()
	}
	return u.String()
}
