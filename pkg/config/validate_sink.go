package config

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/tidemark/tidemark/pkg/errors"
)

func (s *SinkConfig) validateAndAdjust(u *url.URL, kind SinkKind) error {
	s.adoptURI(u)
	if err := s.adjustDispatchers(); err != nil {
		return err
	}
	if err := s.validateAtomicity(u.Scheme, kind); err != nil {
		return err
	}
	if err := s.validateProtocol(u.Scheme, kind); err != nil {
		return err
	}
	if err := s.validateKafka(u); err != nil {
		return err
	}
	if s.EncoderConcurrency != nil && *s.EncoderConcurrency < 0 {
		return errors.ErrSinkInvalidConfig.Msg("encoder-concurrency should greater than 0, but got %d", *s.EncoderConcurrency)
	}
	if err := s.validatePulsar(); err != nil {
		return err
	}
	if err := s.validateStorage(kind); err != nil {
		return err
	}
	if kind != SinkMySQL {
		setDefault(&s.Terminator, func() *string { return ptr(DefaultTerminator) })
		if valueOf(s.Terminator) == "" {
			s.Terminator = ptr(DefaultTerminator)
		}
		if valueOf(s.AdvanceTimeoutInSec) == 0 {
			s.AdvanceTimeoutInSec = ptr(DefaultAdvanceTimeout)
		}
	}
	return nil
}

// adoptURI takes over the two settings that the URI shares with the
// configuration; the URI wins.
func (s *SinkConfig) adoptURI(u *url.URL) {
	q := u.Query()
	if p := q.Get("protocol"); p != "" {
		s.Protocol = &p
	}
	if a := q.Get("transaction-atomicity"); a != "" {
		s.TxnAtomicity = &a
	}
}

// adjustDispatchers moves the old key of a rule to its present one.
func (s *SinkConfig) adjustDispatchers() error {
	for _, r := range s.DispatchRules {
		if r.DispatcherRule == "" {
			continue
		}
		if r.PartitionRule != "" {
			return errors.ErrSinkInvalidConfig.Msg("dispatcher and partition cannot be configured both for rule:%v", *r)
		}
		r.PartitionRule, r.DispatcherRule = r.DispatcherRule, ""
	}
	return nil
}

func (s *SinkConfig) validateAtomicity(scheme string, kind SinkKind) error {
	switch a := valueOf(s.TxnAtomicity); a {
	case "", AtomicityNone:
		return nil
	case AtomicityTable:
		if !kind.IsMQ() {
			return nil
		}
		fallthrough
	default:
		return errors.ErrSinkURIInvalid.Msg("%s level atomicity is not supported by %s scheme", a, scheme)
	}
}

func (s *SinkConfig) validateProtocol(scheme string, kind SinkKind) error {
	p := valueOf(s.Protocol)
	switch {
	case kind == SinkMySQL:
		if p != "" {
			return errors.ErrSinkURIInvalid.Msg("protocol %s is incompatible with %s scheme", p, scheme)
		}
	case kind.IsMQ() || kind == SinkStorage:
		if _, ok := CanonicalProtocol(p); !ok {
			return errors.ErrSinkUnknownProtocol.New(p)
		}
	}
	if canonical, _ := CanonicalProtocol(p); canonical == ProtocolCSV && valueOf(s.DeleteOnlyOutputHandleKeyColumns) {
		return errors.ErrSinkInvalidConfig.Wrap(plainError(
			"CSV protocol always output all columns for the delete event, do not set `delete-only-output-handle-key-columns` to true"))
	}
	return nil
}

func (s *SinkConfig) validateKafka(u *url.URL) error {
	if s.KafkaConfig == nil {
		return nil
	}
	if err := s.validateLargeMessage(u); err != nil {
		return err
	}
	glue := s.KafkaConfig.GlueSchemaRegistryConfig
	if glue == nil {
		return nil
	}
	if valueOf(s.SchemaRegistry) != "" {
		return errors.ErrInvalidReplicaConfig.New(
			"schema-registry and glue-schema-registry-config cannot be set at the same time," +
				"schema-registry is used by confluent schema registry, glue-schema-registry-config is used by aws glue schema registry")
	}
	switch {
	case glue.RegistryName == "":
		return errors.ErrInvalidGlueSchemaRegistryConfig.New("registry-name is empty, is must be set")
	case glue.Region == "":
		return errors.ErrInvalidGlueSchemaRegistryConfig.New("region is empty, is must be set")
	case glue.AccessKey != "" && glue.SecretAccessKey == "":
		return errors.ErrInvalidGlueSchemaRegistryConfig.New("access-key is set, but secret-access-key is empty, they must be set together")
	}
	return nil
}

// validateLargeMessage checks how oversized messages are handled; the needed
// protocol extension is looked up in the URI alone, as TiCDC does.
func (s *SinkConfig) validateLargeMessage(u *url.URL) error {
	h := s.KafkaConfig.LargeMessageHandle
	if h == nil {
		return nil
	}
	switch strings.ToLower(h.LargeMessageHandleCompression) {
	case "", compressionNone, compressionSnappy, compressionLZ4:
	default:
		return errors.ErrInvalidReplicaConfig.New("large message handle compression is not supported, got " + h.LargeMessageHandleCompression)
	}
	if !h.enabled() {
		return nil
	}
	protocol, _ := CanonicalProtocol(valueOf(s.Protocol))
	switch protocol {
	case ProtocolOpen, ProtocolSimple:
	case ProtocolCanalJSON:
		if u.Query().Get("enable-tidb-extension") != "true" {
			return errors.ErrInvalidReplicaConfig.New(fmt.Sprintf(
				"large message handle is set to %s, protocol is %s, but enable-tidb-extension is false",
				h.LargeMessageHandleOption, protocol))
		}
	default:
		return errors.ErrInvalidReplicaConfig.New(fmt.Sprintf(
			"large message handle is set to %s, protocol is %s, it's not supported", h.LargeMessageHandleOption, protocol))
	}
	if h.LargeMessageHandleOption != LargeMessageClaimCheck {
		return nil
	}
	if h.ClaimCheckStorageURI == "" {
		return errors.ErrInvalidReplicaConfig.New("large message handle is set to claim-check, but the claim-check-storage-uri is empty")
	}
	if h.ClaimCheckRawValue && protocol == ProtocolOpen {
		return errors.ErrInvalidReplicaConfig.New("large message handle is set to claim-check, raw value is not supported for the open protocol")
	}
	return nil
}

func (s *SinkConfig) validatePulsar() error {
	if s.PulsarConfig == nil || s.PulsarConfig.OAuth2 == nil {
		return nil
	}
	o := s.PulsarConfig.OAuth2
	if o.OAuth2IssuerURL == "" || o.OAuth2Audience == "" || o.OAuth2PrivateKey == "" || o.OAuth2ClientID == "" {
		return plainError("issuer-url and audience and private-key and client-id not be empty")
	}
	return nil
}

func (s *SinkConfig) validateStorage(kind SinkKind) error {
	if kind != SinkStorage {
		return nil
	}
	if w := valueOf(s.FileIndexWidth); w < 6 || w > DefaultFileIndexWidth {
		s.FileIndexWidth = ptr(DefaultFileIndexWidth)
	}
	switch strings.ToLower(valueOf(s.DateSeparator)) {
	case "", DateSeparatorNone, DateSeparatorYear, DateSeparatorMonth, DateSeparatorDay:
	default:
		return errors.ErrSinkInvalidConfig.Wrap(errors.ErrStorageSinkInvalidDateSeparator.Msg(
			"date separator in storage sink is invalid%%!(EXTRA string=%s)", *s.DateSeparator))
	}
	if s.CSVConfig != nil {
		if err := s.CSVConfig.validate(); err != nil {
			return errors.ErrSinkInvalidConfig.Wrap(err)
		}
	}
	return nil
}

func (c *CSVConfig) validate() error {
	switch {
	case len(c.Quote) > 1:
		return plainError("csv config quote contains more than one character")
	case strings.ContainsAny(c.Quote, "\r\n"):
		return plainError("csv config quote cannot be line break character")
	case c.Delimiter == "":
		return plainError("csv config delimiter cannot be empty")
	case len(c.Delimiter) > 3:
		return plainError("csv config delimiter contains more than three characters")
	case strings.ContainsAny(c.Delimiter, "\r\n"):
		return plainError("csv config delimiter contains line break characters")
	case c.Quote != "" && strings.Contains(c.Delimiter, c.Quote):
		return plainError("csv config quote and delimiter has common characters which is not allowed")
	}
	switch c.BinaryEncodingMethod {
	case BinaryEncodingHex, BinaryEncodingBase64:
		return nil
	default:
		return plainError("csv config binary-encoding-method can only be hex or base64")
	}
}
