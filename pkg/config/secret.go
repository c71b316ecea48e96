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

// masked stands where a secret was.
const masked = "xxxxx"

// MaskSinkURI replaces the password and secret query values by xxxxx. What
// does not parse may hold a secret too: a text that is no URL is hidden whole,
// a parameter that is none by itself.
func MaskSinkURI(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return masked
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), masked)
	}
	if strings.Contains(u.Opaque, "@") { // an address whose slashes were forgotten
		u.Opaque = masked
	}
	maskQuery(u)
	return u.String()
}

func maskQuery(u *url.URL) {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		params := strings.Split(u.RawQuery, "&")
		for i, p := range params {
			if _, err := url.ParseQuery(p); err != nil {
				params[i] = masked
			}
		}
		u.RawQuery = strings.Join(params, "&")
		q = u.Query()
	}
	secrets := false
	for key := range q {
		for _, secret := range secretParams() {
			if strings.EqualFold(strings.ReplaceAll(key, "_", "-"), secret) {
				q.Set(key, masked)
				secrets = true
			}
		}
	}
	if secrets {
		u.RawQuery = q.Encode()
	}
}
