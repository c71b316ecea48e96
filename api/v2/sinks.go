package v2

import "github.com/tidemark/tidemark/pkg/config"

// The structs of this file have the fields of their namesakes in pkg/config,
// in the same order, so that the compiler converts between them; only the keys differ.

// KafkaOptions are the settings of a Kafka client.
type KafkaOptions struct {
	PartitionNum                 *int32   `json:"partition_num,omitempty"`
	ReplicationFactor            *int16   `json:"replication_factor,omitempty"`
	KafkaVersion                 *string  `json:"kafka_version,omitempty"`
	MaxMessageBytes              *int     `json:"max_message_bytes,omitempty"`
	Compression                  *string  `json:"compression,omitempty"`
	KafkaClientID                *string  `json:"kafka_client_id,omitempty"`
	AutoCreateTopic              *bool    `json:"auto_create_topic,omitempty"`
	DialTimeout                  *string  `json:"dial_timeout,omitempty"`
	WriteTimeout                 *string  `json:"write_timeout,omitempty"`
	ReadTimeout                  *string  `json:"read_timeout,omitempty"`
	RequiredAcks                 *int     `json:"required_acks,omitempty"`
	SASLUser                     *string  `json:"sasl_user,omitempty"`
	SASLPassword                 *string  `json:"sasl_password,omitempty"`
	SASLMechanism                *string  `json:"sasl_mechanism,omitempty"`
	SASLGssAPIAuthType           *string  `json:"sasl_gssapi_auth_type,omitempty"`
	SASLGssAPIKeytabPath         *string  `json:"sasl_gssapi_keytab_path,omitempty"`
	SASLGssAPIKerberosConfigPath *string  `json:"sasl_gssapi_kerberos_config_path,omitempty"`
	SASLGssAPIServiceName        *string  `json:"sasl_gssapi_service_name,omitempty"`
	SASLGssAPIUser               *string  `json:"sasl_gssapi_user,omitempty"`
	SASLGssAPIPassword           *string  `json:"sasl_gssapi_password,omitempty"`
	SASLGssAPIRealm              *string  `json:"sasl_gssapi_realm,omitempty"`
	SASLGssAPIDisablePafxfast    *bool    `json:"sasl_gssapi_disable_pafxfast,omitempty"`
	SASLOAuthClientID            *string  `json:"sasl_oauth_client_id,omitempty"`
	SASLOAuthClientSecret        *string  `json:"sasl_oauth_client_secret,omitempty"`
	SASLOAuthTokenURL            *string  `json:"sasl_oauth_token_url,omitempty"`
	SASLOAuthScopes              []string `json:"sasl_oauth_scopes,omitempty"`
	SASLOAuthGrantType           *string  `json:"sasl_oauth_grant_type,omitempty"`
	SASLOAuthAudience            *string  `json:"sasl_oauth_audience,omitempty"`
	EnableTLS                    *bool    `json:"enable_tls,omitempty"`
	CA                           *string  `json:"ca,omitempty"`
	Cert                         *string  `json:"cert,omitempty"`
	Key                          *string  `json:"key,omitempty"`
	InsecureSkipVerify           *bool    `json:"insecure_skip_verify,omitempty"`
}

// KafkaConfig holds the Kafka sink's settings.
type KafkaConfig struct {
	KafkaOptions
	CodecConfig              *CodecConfig              `json:"codec_config,omitempty"`
	LargeMessageHandle       *LargeMessageHandleConfig `json:"large_message_handle,omitempty"`
	GlueSchemaRegistryConfig *GlueSchemaRegistryConfig `json:"glue_schema_registry_config,omitempty"`
	OutputRawChangeEvent     *bool                     `json:"output_raw_change_event,omitempty"`
}

// CodecConfig tunes the message encoders.
type CodecConfig struct {
	EnableTiDBExtension            *bool   `json:"enable_tidb_extension,omitempty"`
	MaxBatchSize                   *int    `json:"max_batch_size,omitempty"`
	AvroEnableWatermark            *bool   `json:"avro_enable_watermark,omitempty"`
	AvroDecimalHandlingMode        *string `json:"avro_decimal_handling_mode,omitempty"`
	AvroBigintUnsignedHandlingMode *string `json:"avro_bigint_unsigned_handling_mode,omitempty"`
	EncodingFormat                 *string `json:"encoding_format,omitempty"`
}

// LargeMessageHandleConfig says what becomes of a message that is too large.
type LargeMessageHandleConfig struct {
	LargeMessageHandleOption      string `json:"large_message_handle_option"`
	LargeMessageHandleCompression string `json:"large_message_handle_compression"`
	ClaimCheckStorageURI          string `json:"claim_check_storage_uri"`
	ClaimCheckRawValue            bool   `json:"claim_check_raw_value"`
}

// GlueSchemaRegistryConfig names an AWS Glue schema registry.
type GlueSchemaRegistryConfig struct {
	RegistryName    string `json:"registry_name"`
	Region          string `json:"region"`
	AccessKey       string `json:"access_key,omitempty"`
	SecretAccessKey string `json:"secret_access_key,omitempty"`
	Token           string `json:"token,omitempty"`
}

// MySQLConfig holds the MySQL sink's settings.
type MySQLConfig struct {
	WorkerCount                  *int    `json:"worker_count,omitempty"`
	MaxTxnRow                    *int    `json:"max_txn_row,omitempty"`
	MaxMultiUpdateRowSize        *int    `json:"max_multi_update_row_size,omitempty"`
	MaxMultiUpdateRowCount       *int    `json:"max_multi_update_row_count,omitempty"`
	TiDBTxnMode                  *string `json:"tidb_txn_mode,omitempty"`
	SSLCa                        *string `json:"ssl_ca,omitempty"`
	SSLCert                      *string `json:"ssl_cert,omitempty"`
	SSLKey                       *string `json:"ssl_key,omitempty"`
	TimeZone                     *string `json:"time_zone,omitempty"`
	WriteTimeout                 *string `json:"write_timeout,omitempty"`
	ReadTimeout                  *string `json:"read_timeout,omitempty"`
	Timeout                      *string `json:"timeout,omitempty"`
	EnableBatchDML               *bool   `json:"enable_batch_dml,omitempty"`
	EnableMultiStatement         *bool   `json:"enable_multi_statement,omitempty"`
	EnableCachePreparedStatement *bool   `json:"enable_cache_prepared_statement,omitempty"`
}

// CloudStorageConfig holds the storage sink's settings.
type CloudStorageConfig struct {
	WorkerCount          *int    `json:"worker_count,omitempty"`
	FlushInterval        *string `json:"flush_interval,omitempty"`
	FileSize             *int    `json:"file_size,omitempty"`
	OutputColumnID       *bool   `json:"output_column_id,omitempty"`
	FileExpirationDays   *int    `json:"file_expiration_days,omitempty"`
	FileCleanupCronSpec  *string `json:"file_cleanup_cron_spec,omitempty"`
	FlushConcurrency     *int    `json:"flush_concurrency,omitempty"`
	OutputRawChangeEvent *bool   `json:"output_raw_change_event,omitempty"`
}

// CSVConfig shapes csv files.
type CSVConfig struct {
	Delimiter            string `json:"delimiter"`
	Quote                string `json:"quote"`
	NullString           string `json:"null"`
	IncludeCommitTs      bool   `json:"include_commit_ts"`
	BinaryEncodingMethod string `json:"binary_encoding_method"`
	OutputOldValue       bool   `json:"output_old_value"`
	OutputHandleKey      bool   `json:"output_handle_key"`
}

// ColumnSelector keeps only some columns of the matched tables.
type ColumnSelector struct {
	Matcher []string `json:"matcher,omitempty"`
	Columns []string `json:"columns,omitempty"`
}

// OldValueConfig switches old values in a protocol.
type OldValueConfig struct {
	OutputOldValue bool `json:"output_old_value"`
}

// PulsarConfig holds the Pulsar sink's settings. Its keys keep the hyphens, and
// the first two are named crosswise: clients know them like that.
type PulsarConfig struct {
	TLSKeyFilePath          *string              `json:"tls-certificate-path,omitempty"`
	TLSCertificateFile      *string              `json:"tls-private-key-path,omitempty"`
	TLSTrustCertsFilePath   *string              `json:"tls-trust-certs-file-path,omitempty"`
	PulsarProducerCacheSize *int32               `json:"pulsar-producer-cache-size,omitempty"`
	PulsarVersion           *string              `json:"pulsar-version,omitempty"`
	CompressionType         *string              `json:"compression-type,omitempty"`
	AuthenticationToken     *string              `json:"authentication-token,omitempty"`
	ConnectionTimeout       *int                 `json:"connection-timeout,omitempty"`
	OperationTimeout        *int                 `json:"operation-timeout,omitempty"`
	BatchingMaxMessages     *uint                `json:"batching-max-messages,omitempty"`
	BatchingMaxPublishDelay *int                 `json:"batching-max-publish-delay,omitempty"`
	SendTimeout             *int                 `json:"send-timeout,omitempty"`
	TokenFromFile           *string              `json:"token-from-file,omitempty"`
	BasicUserName           *string              `json:"basic-user-name,omitempty"`
	BasicPassword           *string              `json:"basic-password,omitempty"`
	AuthTLSCertificatePath  *string              `json:"auth-tls-certificate-path,omitempty"`
	AuthTLSPrivateKeyPath   *string              `json:"auth-tls-private-key-path,omitempty"`
	OAuth2                  *config.PulsarOAuth2 `json:"oauth2,omitempty"`
	OutputRawChangeEvent    *bool                `json:"output-raw-change-event,omitempty"`
}
