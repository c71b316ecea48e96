package config

// KafkaConfig holds the Kafka sink's settings; URI parameters win over them.
type KafkaConfig struct {
	KafkaOptions
	CodecConfig              *CodecConfig              `toml:"codec-config" json:"codec-config,omitempty"`
	LargeMessageHandle       *LargeMessageHandleConfig `toml:"large-message-handle" json:"large-message-handle,omitempty"`
	GlueSchemaRegistryConfig *GlueSchemaRegistryConfig `toml:"glue-schema-registry-config" json:"glue-schema-registry-config"`
	OutputRawChangeEvent     *bool                     `toml:"output-raw-change-event" json:"output-raw-change-event,omitempty"`
}

// KafkaOptions are the settings of a Kafka client.
type KafkaOptions struct {
	PartitionNum                 *int32   `toml:"partition-num" json:"partition-num,omitempty"`
	ReplicationFactor            *int16   `toml:"replication-factor" json:"replication-factor,omitempty"`
	KafkaVersion                 *string  `toml:"kafka-version" json:"kafka-version,omitempty"`
	MaxMessageBytes              *int     `toml:"max-message-bytes" json:"max-message-bytes,omitempty"`
	Compression                  *string  `toml:"compression" json:"compression,omitempty"`
	KafkaClientID                *string  `toml:"kafka-client-id" json:"kafka-client-id,omitempty"`
	AutoCreateTopic              *bool    `toml:"auto-create-topic" json:"auto-create-topic,omitempty"`
	DialTimeout                  *string  `toml:"dial-timeout" json:"dial-timeout,omitempty"`
	WriteTimeout                 *string  `toml:"write-timeout" json:"write-timeout,omitempty"`
	ReadTimeout                  *string  `toml:"read-timeout" json:"read-timeout,omitempty"`
	RequiredAcks                 *int     `toml:"required-acks" json:"required-acks,omitempty"`
	SASLUser                     *string  `toml:"sasl-user" json:"sasl-user,omitempty"`
	SASLPassword                 *string  `toml:"sasl-password" json:"sasl-password,omitempty"`
	SASLMechanism                *string  `toml:"sasl-mechanism" json:"sasl-mechanism,omitempty"`
	SASLGssAPIAuthType           *string  `toml:"sasl-gssapi-auth-type" json:"sasl-gssapi-auth-type,omitempty"`
	SASLGssAPIKeytabPath         *string  `toml:"sasl-gssapi-keytab-path" json:"sasl-gssapi-keytab-path,omitempty"`
	SASLGssAPIKerberosConfigPath *string  `toml:"sasl-gssapi-kerberos-config-path" json:"sasl-gssapi-kerberos-config-path,omitempty"`
	SASLGssAPIServiceName        *string  `toml:"sasl-gssapi-service-name" json:"sasl-gssapi-service-name,omitempty"`
	SASLGssAPIUser               *string  `toml:"sasl-gssapi-user" json:"sasl-gssapi-user,omitempty"`
	SASLGssAPIPassword           *string  `toml:"sasl-gssapi-password" json:"sasl-gssapi-password,omitempty"`
	SASLGssAPIRealm              *string  `toml:"sasl-gssapi-realm" json:"sasl-gssapi-realm,omitempty"`
	SASLGssAPIDisablePafxfast    *bool    `toml:"sasl-gssapi-disable-pafxfast" json:"sasl-gssapi-disable-pafxfast,omitempty"`
	SASLOAuthClientID            *string  `toml:"sasl-oauth-client-id" json:"sasl-oauth-client-id,omitempty"`
	SASLOAuthClientSecret        *string  `toml:"sasl-oauth-client-secret" json:"sasl-oauth-client-secret,omitempty"`
	SASLOAuthTokenURL            *string  `toml:"sasl-oauth-token-url" json:"sasl-oauth-token-url,omitempty"`
	SASLOAuthScopes              []string `toml:"sasl-oauth-scopes" json:"sasl-oauth-scopes,omitempty"`
	SASLOAuthGrantType           *string  `toml:"sasl-oauth-grant-type" json:"sasl-oauth-grant-type,omitempty"`
	SASLOAuthAudience            *string  `toml:"sasl-oauth-audience" json:"sasl-oauth-audience,omitempty"`
	EnableTLS                    *bool    `toml:"enable-tls" json:"enable-tls,omitempty"`
	CA                           *string  `toml:"ca" json:"ca,omitempty"`
	Cert                         *string  `toml:"cert" json:"cert,omitempty"`
	Key                          *string  `toml:"key" json:"key,omitempty"`
	InsecureSkipVerify           *bool    `toml:"insecure-skip-verify" json:"insecure-skip-verify,omitempty"`
}

// CodecConfig tunes the message encoders.
type CodecConfig struct {
	EnableTiDBExtension            *bool   `toml:"enable-tidb-extension" json:"enable-tidb-extension,omitempty"`
	MaxBatchSize                   *int    `toml:"max-batch-size" json:"max-batch-size,omitempty"`
	AvroEnableWatermark            *bool   `toml:"avro-enable-watermark" json:"avro-enable-watermark"`
	AvroDecimalHandlingMode        *string `toml:"avro-decimal-handling-mode" json:"avro-decimal-handling-mode,omitempty"`
	AvroBigintUnsignedHandlingMode *string `toml:"avro-bigint-unsigned-handling-mode" json:"avro-bigint-unsigned-handling-mode,omitempty"`
	EncodingFormat                 *string `toml:"encoding-format" json:"encoding-format,omitempty"`
}

// The ways to handle a message that exceeds the size limit of the topic.
const (
	LargeMessageNone          = "none"
	LargeMessageClaimCheck    = "claim-check"
	LargeMessageHandleKeyOnly = "handle-key-only"
)

// LargeMessageHandleConfig says what becomes of a message that is too large.
type LargeMessageHandleConfig struct {
	LargeMessageHandleOption      string `toml:"large-message-handle-option" json:"large-message-handle-option"`
	LargeMessageHandleCompression string `toml:"large-message-handle-compression" json:"large-message-handle-compression"`
	ClaimCheckStorageURI          string `toml:"claim-check-storage-uri" json:"claim-check-storage-uri"`
	ClaimCheckRawValue            bool   `toml:"claim-check-raw-value" json:"claim-check-raw-value"`
}

// enabled tells whether an option other than none is chosen.
func (c *LargeMessageHandleConfig) enabled() bool {
	return c != nil && c.LargeMessageHandleOption != "" && c.LargeMessageHandleOption != LargeMessageNone
}

// GlueSchemaRegistryConfig names an AWS Glue schema registry.
type GlueSchemaRegistryConfig struct {
	RegistryName    string `toml:"registry-name" json:"registry-name"`
	Region          string `toml:"region" json:"region"`
	AccessKey       string `toml:"access-key" json:"access-key,omitempty"`
	SecretAccessKey string `toml:"secret-access-key" json:"secret-access-key,omitempty"`
	Token           string `toml:"token" json:"token,omitempty"`
}

// PulsarConfig holds the Pulsar sink's settings. Timeouts are in seconds, the
// publish delay in milliseconds.
type PulsarConfig struct {
	TLSKeyFilePath          *string       `toml:"tls-key-file-path" json:"tls-key-file-path,omitempty"`
	TLSCertificateFile      *string       `toml:"tls-certificate-file" json:"tls-certificate-file,omitempty"`
	TLSTrustCertsFilePath   *string       `toml:"tls-trust-certs-file-path" json:"tls-trust-certs-file-path,omitempty"`
	PulsarProducerCacheSize *int32        `toml:"pulsar-producer-cache-size" json:"pulsar-producer-cache-size,omitempty"`
	PulsarVersion           *string       `toml:"pulsar-version" json:"pulsar-version,omitempty"`
	CompressionType         *string       `toml:"compression-type" json:"compression-type,omitempty"`
	AuthenticationToken     *string       `toml:"authentication-token" json:"authentication-token,omitempty"`
	ConnectionTimeout       *int          `toml:"connection-timeout" json:"connection-timeout,omitempty"`
	OperationTimeout        *int          `toml:"operation-timeout" json:"operation-timeout,omitempty"`
	BatchingMaxMessages     *uint         `toml:"batching-max-messages" json:"batching-max-messages,omitempty"`
	BatchingMaxPublishDelay *int          `toml:"batching-max-publish-delay" json:"batching-max-publish-delay,omitempty"`
	SendTimeout             *int          `toml:"send-timeout" json:"send-timeout,omitempty"`
	TokenFromFile           *string       `toml:"token-from-file" json:"token-from-file,omitempty"`
	BasicUserName           *string       `toml:"basic-user-name" json:"basic-user-name,omitempty"`
	BasicPassword           *string       `toml:"basic-password" json:"basic-password,omitempty"`
	AuthTLSCertificatePath  *string       `toml:"auth-tls-certificate-path" json:"auth-tls-certificate-path,omitempty"`
	AuthTLSPrivateKeyPath   *string       `toml:"auth-tls-private-key-path" json:"auth-tls-private-key-path,omitempty"`
	OAuth2                  *PulsarOAuth2 `toml:"oauth2" json:"oauth2,omitempty"`
	OutputRawChangeEvent    *bool         `toml:"output-raw-change-event" json:"output-raw-change-event,omitempty"`
}

// PulsarOAuth2 is the OAuth client of a Pulsar sink.
type PulsarOAuth2 struct {
	OAuth2IssuerURL  string `toml:"oauth2-issuer-url" json:"oauth2-issuer-url,omitempty"`
	OAuth2Audience   string `toml:"oauth2-audience" json:"oauth2-audience,omitempty"`
	OAuth2PrivateKey string `toml:"oauth2-private-key" json:"oauth2-private-key,omitempty"`
	OAuth2ClientID   string `toml:"oauth2-client-id" json:"oauth2-client-id,omitempty"`
	OAuth2Scope      string `toml:"oauth2-scope" json:"oauth2-scope,omitempty"`
}

// CloudStorageConfig holds the storage sink's settings.
type CloudStorageConfig struct {
	WorkerCount          *int    `toml:"worker-count" json:"worker-count,omitempty"`
	FlushInterval        *string `toml:"flush-interval" json:"flush-interval,omitempty"`
	FileSize             *int    `toml:"file-size" json:"file-size,omitempty"`
	OutputColumnID       *bool   `toml:"output-column-id" json:"output-column-id,omitempty"`
	FileExpirationDays   *int    `toml:"file-expiration-days" json:"file-expiration-days,omitempty"`
	FileCleanupCronSpec  *string `toml:"file-cleanup-cron-spec" json:"file-cleanup-cron-spec,omitempty"`
	FlushConcurrency     *int    `toml:"flush-concurrency" json:"flush-concurrency,omitempty"`
	OutputRawChangeEvent *bool   `toml:"output-raw-change-event" json:"output-raw-change-event,omitempty"`
}
