package config

// KafkaConfig, PulsarConfig and CloudStorageConfig are completed with their sinks.

// KafkaConfig holds the Kafka sink's settings; URI parameters win over them.
type KafkaConfig struct{}

// PulsarConfig holds the Pulsar sink's settings.
type PulsarConfig struct{}

// CloudStorageConfig holds the storage sink's settings.
type CloudStorageConfig struct{}
