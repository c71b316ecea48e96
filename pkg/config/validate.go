package config

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/tidemark/tidemark/pkg/errors"
)

// The least values that the rules accept.
const (
	minSyncPointInterval  = 30 * time.Second
	minSyncPointRetention = time.Hour
	minErrorStuckDuration = 30 * time.Minute
	minRedoFlushMs        = 50
)

// ValidateAndAdjust checks the configuration against the sink that it is for
// and brings it to the form that is stored: defaults filled in, parameters
// that the URI carries taken over, settings that cannot apply switched off.
// Errors have the codes and texts of TiCDC.
func (c *ReplicaConfig) ValidateAndAdjust(uri SinkURI) error {
	u, err := url.Parse(uri.Reveal())
	if err != nil {
		return errors.ErrSinkURIInvalid.Wrap(withoutURL(err))
	}
	c.Complete()
	kind := KindOfScheme(u.Scheme)
	if err := c.Sink.validateAndAdjust(u, kind); err != nil {
		return err
	}
	if err := c.Consistent.validateAndAdjust(); err != nil {
		return err
	}
	if err := c.validateSyncPoint(u, kind); err != nil {
		return err
	}
	if err := c.validateBDR(u, kind); err != nil {
		return err
	}
	if err := c.Scheduler.validateAndAdjust(u.Scheme); err != nil {
		return err
	}
	if err := c.validateIntegrity(kind); err != nil {
		return err
	}
	if *c.ChangefeedErrorStuckDuration < minErrorStuckDuration {
		return errors.ErrInvalidReplicaConfig.New("the ChangefeedErrorStuckDuration: " +
			c.ChangefeedErrorStuckDuration.String() + " must be larger than " + minErrorStuckDuration.String())
	}
	return nil
}

// withoutURL strips the address, which may hold a password, from the error of
// a URL that does not parse.
func withoutURL(err error) error {
	if uerr, ok := err.(*url.Error); ok {
		return uerr.Err
	}
	return err
}

func (c *ReplicaConfig) validateSyncPoint(u *url.URL, kind SinkKind) error {
	if !valueOf(c.EnableSyncPoint) {
		return nil
	}
	if c.SyncPointInterval != nil && *c.SyncPointInterval < minSyncPointInterval {
		return errors.ErrInvalidReplicaConfig.New("The SyncPointInterval:" + c.SyncPointInterval.String() +
			" must be larger than " + minSyncPointInterval.String())
	}
	if c.SyncPointRetention != nil && *c.SyncPointRetention < minSyncPointRetention {
		return errors.ErrInvalidReplicaConfig.New("The SyncPointRetention:" + c.SyncPointRetention.String() +
			" must be larger than " + minSyncPointRetention.String())
	}
	if kind != SinkMySQL {
		return errors.ErrSinkURIInvalid.Msg("sink uri scheme is not supported with syncpoint enabled"+
			"sink uri: %s", MaskSinkURI(u.String()))
	}
	return nil
}

func (c *ReplicaConfig) validateBDR(u *url.URL, kind SinkKind) error {
	if valueOf(c.BDRMode) && kind != SinkMySQL {
		return errors.ErrSinkURIInvalid.Msg("sink uri scheme is not supported in BDR mode, sink uri: %s", MaskSinkURI(u.String()))
	}
	return nil
}

func (c *SchedulerConfig) validateAndAdjust(scheme string) error {
	if !c.EnableTableAcrossNodes {
		return nil
	}
	if c.RegionThreshold < 0 {
		return plainError("region-threshold must be larger than 0")
	}
	if c.WriteKeyThreshold < 0 {
		return plainError("write-key-threshold must be larger than 0")
	}
	if !cutsTables(scheme) {
		c.EnableTableAcrossNodes = false
	}
	return nil
}

// cutsTables tells whether a table may be spread over captures for this kind
// of downstream.
func cutsTables(scheme string) bool {
	return strings.Contains(scheme, "kafka") || strings.Contains(scheme, "blackhole")
}

func (c *ReplicaConfig) validateIntegrity(kind SinkKind) error {
	i := c.Integrity
	// The texts keep the literal placeholder: clients know them like that.
	switch i.IntegrityCheckLevel {
	case IntegrityNone, IntegrityCorrectness:
	default:
		return errors.ErrInvalidReplicaConfig.New()
	}
	switch i.CorruptionHandleLevel {
	case CorruptionWarn, CorruptionError:
	default:
		return errors.ErrInvalidReplicaConfig.New()
	}
	if i.IntegrityCheckLevel == IntegrityNone {
		return nil
	}
	if len(c.Sink.ColumnSelectors) != 0 {
		return errors.ErrInvalidReplicaConfig.New(
			"integrity check enabled while column selector set, not allowed")
	}
	if kind != SinkKafka {
		i.IntegrityCheckLevel = IntegrityNone
	}
	return nil
}

func (c *ConsistentConfig) validateAndAdjust() error {
	if c.Level != ConsistentLevelEventual {
		return nil
	}
	d := DefaultConsistentConfig()
	replaceZero(&c.MaxLogSize, d.MaxLogSize)
	replaceZero(&c.FlushIntervalInMs, d.FlushIntervalInMs)
	replaceZero(&c.MetaFlushIntervalInMs, d.MetaFlushIntervalInMs)
	replaceZero(&c.EncodingWorkerNum, d.EncodingWorkerNum)
	replaceZero(&c.FlushWorkerNum, d.FlushWorkerNum)
	if c.FlushIntervalInMs < minRedoFlushMs {
		return errors.ErrInvalidReplicaConfig.New(redoIntervalText("flush", c.FlushIntervalInMs))
	}
	if c.MetaFlushIntervalInMs < minRedoFlushMs {
		return errors.ErrInvalidReplicaConfig.New(redoIntervalText("meta-flush", c.MetaFlushIntervalInMs))
	}
	switch c.Compression {
	case "", compressionNone, compressionLZ4:
	default:
		return errors.ErrInvalidReplicaConfig.New("The consistent.compression:" + c.Compression + " must be 'none' or 'lz4'")
	}
	u, err := url.Parse(c.Storage)
	if err != nil {
		return errors.ErrInvalidReplicaConfig.Wrap(withoutURL(err), "invalid storage uri: "+MaskSinkURI(c.Storage))
	}
	if !redoScheme(u.Scheme) {
		return errors.ErrConsistentStorage.New(u.Scheme)
	}
	return nil
}

func redoScheme(scheme string) bool {
	switch scheme {
	case "s3", "gcs", "gs", "azblob", "azure", "file", "noop", "local", "nfs":
		return true
	}
	return strings.HasPrefix(scheme, "blackhole")
}

func replaceZero[T comparable](field *T, def T) {
	var zero T
	if *field == zero {
		*field = def
	}
}

// plainError is an error without a code, as the API has for a few rules.
type plainError string

func (e plainError) Error() string { return string(e) }

func redoIntervalText(name string, got int64) string {
	return fmt.Sprintf("The consistent.%s-interval:%d must be equal or greater than %d", name, got, minRedoFlushMs)
}
