package errors

// The codes that API callers and operators meet. Texts and codes are those of
// TiCDC 8.5.
var (
	ErrAPIInvalidParam                 = &Code{"CDC:ErrAPIInvalidParam", "invalid api parameter"}
	ErrChangeFeedNotExists             = &Code{"CDC:ErrChangeFeedNotExists", "changefeed not exists, %s"}
	ErrChangeFeedAlreadyExists         = &Code{"CDC:ErrChangeFeedAlreadyExists", "changefeed already exists, %s"}
	ErrChangeFeedDeletionUnfinished    = &Code{"CDC:ErrChangeFeedDeletionUnfinished", "changefeed exists after deletion, %s"}
	ErrReachMaxTry                     = &Code{"CDC:ErrReachMaxTry", "reach maximum try: %s, error: %s"}
	ErrCaptureNotExist                 = &Code{"CDC:ErrCaptureNotExist", "capture not exists, %s"}
	ErrSchedulerRequestFailed          = &Code{"CDC:ErrSchedulerRequestFailed", "scheduler request failed, %s"}
	ErrSinkURIInvalid                  = &Code{"CDC:ErrSinkURIInvalid", "sink uri invalid '%s'"}
	ErrStartTsBeforeGC                 = &Code{"CDC:ErrStartTsBeforeGC", "fail to create or maintain changefeed because start-ts %d is earlier than or equal to GC safepoint at %d"}
	ErrTargetTsBeforeStartTs           = &Code{"CDC:ErrTargetTsBeforeStartTs", "fail to create changefeed because target-ts %d is earlier than start-ts %d"}
	ErrTableIneligible                 = &Code{"CDC:ErrTableIneligible", "some tables are not eligible to replicate(%v), if you want to ignore these tables, please set ignore_ineligible_table to true"}
	ErrFilterRuleInvalid               = &Code{"CDC:ErrFilterRuleInvalid", "filter rule is invalid %v"}
	ErrChangefeedUpdateRefused         = &Code{"CDC:ErrChangefeedUpdateRefused", "changefeed update error: %s"}
	ErrMySQLConnectionError            = &Code{"CDC:ErrMySQLConnectionError", "fail to open MySQL connection"}
	ErrMySQLInvalidConfig              = &Code{"CDC:ErrMySQLInvalidConfig", "MySQL config invalid"}
	ErrMySQLTxnError                   = &Code{"CDC:ErrMySQLTxnError", "MySQL txn error"}
	ErrMySQLDuplicateEntry             = &Code{"CDC:ErrMySQLDuplicateEntry", "MySQL duplicate entry error"}
	ErrMySQLQueryError                 = &Code{"CDC:ErrMySQLQueryError", "MySQL query error"}
	ErrInvalidReplicaConfig            = &Code{"CDC:ErrInvalidReplicaConfig", "invalid replica config, %s"}
	ErrSinkInvalidConfig               = &Code{"CDC:ErrSinkInvalidConfig", "sink config invalid"}
	ErrSinkUnknownProtocol             = &Code{"CDC:ErrSinkUnknownProtocol", "unknown '%s' message protocol for sink"}
	ErrIncompatibleSinkConfig          = &Code{"CDC:ErrIncompatibleSinkConfig", "incompatible configuration in sink uri(%s) and config file(%s), please try to update the configuration only through sink uri"}
	ErrStorageSinkInvalidDateSeparator = &Code{"CDC:ErrStorageSinkInvalidDateSeparator", "date separator in storage sink is invalid"}
	ErrStorageSinkInvalidConfig        = &Code{"CDC:ErrStorageSinkInvalidConfig", "storage sink config invalid"}
	ErrInvalidGlueSchemaRegistryConfig = &Code{"CDC:ErrInvalidGlueSchemaRegistryConfig", "%s"}
	ErrConsistentStorage               = &Code{"CDC:ErrConsistentStorage", "consistent storage (%s) not support"}
	ErrStorageInitialize               = &Code{"CDC:ErrStorageInitialize", "fail to open storage for redo log"}
	ErrKafkaInvalidConfig              = &Code{"CDC:ErrKafkaInvalidConfig", "kafka config invalid"}
	ErrKafkaNewProducer                = &Code{"CDC:ErrKafkaNewProducer", "new kafka producer"}
	ErrKafkaInvalidPartitionNum        = &Code{"CDC:ErrKafkaInvalidPartitionNum", "invalid partition num %d"}
	ErrKafkaInvalidVersion             = &Code{"CDC:ErrKafkaInvalidVersion", "invalid kafka version"}
	ErrKafkaInvalidClientID            = &Code{"CDC:ErrKafkaInvalidClientID", "invalid kafka client ID '%s'"}
	ErrKafkaInvalidRequiredAcks        = &Code{"CDC:ErrKafkaInvalidRequiredAcks", "invalid required acks %d, only support these values: 0(NoResponse),1(WaitForLocal) and -1(WaitForAll)"}
	ErrKafkaTopicExprInvalid           = &Code{"CDC:ErrKafkaTopicExprInvalid", "invalid topic expression"}
	ErrKafkaCreateTopic                = &Code{"CDC:ErrKafkaCreateTopic", "kafka create topic failed"}
	ErrKafkaSendMessage                = &Code{"CDC:ErrKafkaSendMessage", "kafka send message failed"}
	ErrKafkaAsyncSendMessage           = &Code{"CDC:ErrKafkaAsyncSendMessage", "kafka async send message failed"}
	ErrCodecInvalidConfig              = &Code{"CDC:ErrCodecInvalidConfig", "mq sink codec config invalid"}
	ErrMessageTooLarge                 = &Code{"CDC:ErrMessageTooLarge", "message is too large, table: %s, handle key: %s, length: %d, max-message-bytes: %d"}
	ErrEncodeFailed                    = &Code{"CDC:ErrEncodeFailed", "encode failed: %s"}
	ErrDecodeFailed                    = &Code{"CDC:ErrDecodeFailed", "decode failed: %s"}
	ErrAvroSchemaAPIError              = &Code{"CDC:ErrAvroSchemaAPIError", "schema manager API error, %s"}
	ErrFailToCreateExternalStorage     = &Code{"CDC:ErrFailToCreateExternalStorage", "failed to create external storage"}
	ErrExternalStorageAPI              = &Code{"CDC:ErrExternalStorageAPI", "external storage api"}
	ErrDispatcherFailed                = &Code{"CDC:ErrDispatcherFailed", "%s"}
	ErrColumnSelectorFailed            = &Code{"CDC:ErrColumnSelectorFailed", "column selector failed"}
	ErrInvalidIgnoreEventType          = &Code{"CDC:ErrInvalidIgnoreEventType", "invalid ignore event type: '%s'"}
	ErrExpressionColumnNotFound        = &Code{"CDC:ErrExpressionColumnNotFound", "invalid filter expression(s). Cannot find column '%s' from table '%s' in: %s"}
	ErrLoadTimezone                    = &Code{"CDC:ErrLoadTimezone", "load timezone"}
	ErrNewSemVersion                   = &Code{"CDC:ErrNewSemVersion", "create sem version"}
	ErrVersionIncompatible             = &Code{"CDC:ErrVersionIncompatible", "version is incompatible: %s"}
	ErrClusterIDMismatch               = &Code{"CDC:ErrClusterIDMismatch", "cluster ID mismatch, tikv cluster ID is %d and request cluster ID is %d"}
	ErrPDEtcdAPIError                  = &Code{"CDC:ErrPDEtcdAPIError", "etcd api call error"}
	ErrUpstreamNotFound                = &Code{"CDC:ErrUpstreamNotFound", "upstream not found, cluster-id: %d"}
	ErrUpstreamManagerNotReady         = &Code{"CDC:ErrUpstreamManagerNotReady", "upstream manager not ready"}
	ErrUpstreamMissMatch               = &Code{"CDC:ErrUpstreamMissMatch", "upstream missmatch,old: %d, new %d"}
	ErrUpstreamHasRunningImport        = &Code{"CDC:ErrUpstreamHasRunningImport", "upstream has running import tasks, upstream-id: %d"}
	ErrAPIGetPDClientFailed            = &Code{"CDC:ErrAPIGetPDClientFailed", "failed to get PDClient to connect PD, please recheck"}
	ErrNewStore                        = &Code{"CDC:ErrNewStore", "new store failed"}
	ErrInternalServerError             = &Code{"CDC:ErrInternalServerError", "internal server error"}
	ErrNotOwner                        = &Code{"CDC:ErrNotOwner", "this capture is not a owner"}
	ErrOwnerNotFound                   = &Code{"CDC:ErrOwnerNotFound", "owner not found"}
	ErrServerIsNotReady                = &Code{"CDC:ErrServerIsNotReady", "cdc server is not ready"}
	ErrClusterIsUnhealthy              = &Code{"CDC:ErrClusterIsUnhealthy", "TiCDC cluster is unhealthy"}
	ErrCaptureNotInitialized           = &Code{"CDC:ErrCaptureNotInitialized", "capture has not been initialized yet"}
	ErrCredentialNotFound              = &Code{"CDC:ErrCredentialNotFound", "credential not found: %s"}
	ErrUnauthorized                    = &Code{"CDC:ErrUnauthorized", "user %s unauthorized, error: %s"}
	ErrGCTTLExceeded                   = &Code{"CDC:ErrGCTTLExceeded", "the checkpoint-ts(%d) lag of the changefeed(%s) has exceeded the GC TTL and the changefeed is blocking global GC progression"}
	ErrSnapshotLostByGC                = &Code{"CDC:ErrSnapshotLostByGC", "fail to create or maintain changefeed due to snapshot loss caused by GC. checkpoint-ts %d is earlier than or equal to GC safepoint at %d"}
	ErrUpdateServiceSafepointFailed    = &Code{"CDC:ErrUpdateServiceSafepointFailed", "updating service safepoint failed"}
	ErrSchemaSnapshotNotFound          = &Code{"CDC:ErrSchemaSnapshotNotFound", "can not found schema snapshot, ts: %d"}
	ErrSnapshotTableNotFound           = &Code{"CDC:ErrSnapshotTableNotFound", "table %d not found in schema snapshot"}
	ErrSyncRenameTableFailed           = &Code{"CDC:ErrSyncRenameTableFailed", "table's old name is not in filter rule, and its new name in filter rule table id '%d', ddl query: [%s], it's an unexpected behavior, if you want to replicate this table, please add its old name to filter rule."}
	ErrChangefeedUnretryable           = &Code{"CDC:ErrChangefeedUnretryable", "changefeed is in unretryable state, please check the error message, and you should manually handle it"}
	ErrCorruptedDataMutation           = &Code{"CDC:ErrCorruptedDataMutation", "Changefeed %s.%s stopped due to corrupted data mutation received"}
	ErrPrewriteNotMatch                = &Code{"CDC:ErrPrewriteNotMatch", "prewrite not match, key: %s, start-ts: %d, commit-ts: %d, type: %s, optype: %s"}
	ErrUnknownKVEventType              = &Code{"CDC:ErrUnknownKVEventType", "unknown kv optype: %s, entry: %v"}
	ErrResolvedTsBroken                = &Code{"CDC:ErrResolvedTsBroken", "row with commit-ts %d at or below the resolved-ts %d of region %d"}
	ErrEventFeedEventError             = &Code{"CDC:ErrEventFeedEventError", "eventfeed returns event error: %v"}
	ErrDecodeRowToDatum                = &Code{"CDC:ErrDecodeRowToDatum", "decode row data to datum failed"}
	ErrDDLEventIgnored                 = &Code{"CDC:ErrDDLEventIgnored", "ddl event is ignored"}
	ErrExecDDLFailed                   = &Code{"CDC:ErrExecDDLFailed", "exec DDL failed %s"}
	ErrProcessorUnknown                = &Code{"CDC:ErrProcessorUnknown", "processor running unknown error"}
	ErrOwnerUnknown                    = &Code{"CDC:ErrOwnerUnknown", "owner running unknown error"}
	ErrEtcdTxnSizeExceed               = &Code{"CDC:ErrEtcdTxnSizeExceed", "patch size of an etcd txn exceeds limit"}
	ErrEtcdTxnOpsExceed                = &Code{"CDC:ErrEtcdTxnOpsExceed", "patch ops of an etcd txn exceeds limit"}
	ErrCaptureSuicide                  = &Code{"CDC:ErrCaptureSuicide", "capture suicide"}
	ErrInvalidServerOption             = &Code{"CDC:ErrInvalidServerOption", "invalid server option"}
	ErrInvalidChangefeedID             = &Code{"CDC:ErrInvalidChangefeedID", "bad changefeed id, please match the pattern \"^[a-zA-Z0-9]+(\\-[a-zA-Z0-9]+)*$\", the length should no more than 128, eg, \"simple-changefeed-task\""}
	ErrWarnMissingTables               = &Code{"CDC:ErrWarnMissingTables", "some tables are missing"}
	ErrExpressionParseFailed           = &Code{"CDC:ErrInvalidFilterExpression", "invalid filter expressions. There is a syntax error in: '%s'"}
	ErrFailedToFilterDML               = &Code{"CDC:ErrFailedToFilterDML", "failed to filter dml event: table %s, commit-ts %d"}
	ErrMetaOpFailed                    = &Code{"DFLOW:ErrMetaOpFailed", "unexpected meta operation failure: %s"}
	ErrRequestForward                  = &Code{"ErrRequestForwardErr", "request forward error, an request can only forward to owner one time"}
)

func gcFastFail() []*Code {
	return []*Code{ErrGCTTLExceeded, ErrSnapshotLostByGC, ErrStartTsBeforeGC}
}

func unretryable() []*Code {
	return []*Code{
		ErrExpressionColumnNotFound, ErrExpressionParseFailed, ErrSchemaSnapshotNotFound, ErrSyncRenameTableFailed,
		ErrChangefeedUnretryable, ErrCorruptedDataMutation, ErrDispatcherFailed, ErrColumnSelectorFailed,
		ErrSinkURIInvalid, ErrKafkaInvalidConfig, ErrMySQLInvalidConfig, ErrStorageSinkInvalidConfig,
	}
}

func badRequest() []*Code {
	return []*Code{
		ErrAPIInvalidParam, ErrSinkURIInvalid, ErrStartTsBeforeGC, ErrChangeFeedNotExists, ErrTargetTsBeforeStartTs,
		ErrTableIneligible, ErrFilterRuleInvalid, ErrChangefeedUpdateRefused, ErrMySQLConnectionError,
		ErrMySQLInvalidConfig, ErrCaptureNotExist, ErrSchedulerRequestFailed,
	}
}
