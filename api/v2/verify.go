package v2

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tidemark/tidemark/api/middleware"
	"github.com/tidemark/tidemark/api/wire"
	"github.com/tidemark/tidemark/pkg/config"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/service"
)

// VerifyTableConfig is the body of POST /verify_table.
type VerifyTableConfig struct {
	PDConfig
	ReplicaConfig *ReplicaConfig `json:"replica_config"`
	StartTs       uint64         `json:"start_ts"`
	SinkURI       string         `json:"sink_uri"`
}

// Tables is the answer of POST /verify_table.
type Tables struct {
	IneligibleTables []TableName `json:"ineligible_tables,omitempty"`
	EligibleTables   []TableName `json:"eligible_tables,omitempty"`
}

// TableName names a table and its id.
type TableName struct {
	Schema      string `json:"database_name"`
	Table       string `json:"table_name"`
	TableID     int64  `json:"table_id"`
	IsPartition bool   `json:"is_partition"`
}

func tableNames(tables []*model.Table) []TableName {
	names := make([]TableName, 0, len(tables))
	for _, t := range tables {
		names = append(names, TableName{
			Schema: t.Schema, Table: t.Name, TableID: t.ID, IsPartition: t.PartitionIDs != nil,
		})
	}
	return names
}

func (a *API) verifyTable(c *gin.Context) {
	req := VerifyTableConfig{ReplicaConfig: defaults()}
	if !decode(c, &req) {
		return
	}
	eligible, ineligible, err := a.service.VerifyTables(c.Request.Context(), service.VerifyRequest{
		Config: req.ReplicaConfig.merged(), StartTs: req.StartTs, SinkURI: config.SinkURI(req.SinkURI), PD: req.address(),
	})
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	c.JSON(http.StatusOK, Tables{IneligibleTables: tableNames(ineligible), EligibleTables: tableNames(eligible)})
}

// SyncedStatus is the answer of GET .../synced. All its times are text.
type SyncedStatus struct {
	Synced           bool      `json:"synced"`
	SinkCheckpointTs wire.Time `json:"sink_checkpoint_ts"`
	PullerResolvedTs wire.Time `json:"puller_resolved_ts"`
	LastSyncedTs     wire.Time `json:"last_synced_ts"`
	NowTs            wire.Time `json:"now_ts"`
	Info             string    `json:"info"`
}

func (a *API) getSynced(c *gin.Context) {
	var req VerifyTableConfig
	if c.Request.ContentLength > 0 && !decode(c, &req) {
		return
	}
	var thresholds *config.SyncedStatusConfig
	if req.ReplicaConfig != nil {
		thresholds = (*config.SyncedStatusConfig)(req.ReplicaConfig.SyncedStatus)
	}
	st, err := a.service.Synced(c.Request.Context(), feedID(c), thresholds, req.address())
	if err != nil {
		middleware.Fail(c, err)
		return
	}
	c.JSON(http.StatusOK, SyncedStatus{
		Synced:           st.Synced,
		SinkCheckpointTs: wire.TimeOfTSO(st.CheckpointTs),
		PullerResolvedTs: wire.TimeOfTSO(st.PullerResolvedTs),
		LastSyncedTs:     wire.TimeOfTSO(st.LastSyncedTs),
		NowTs:            wire.Time(st.Now),
		Info:             st.Info,
	})
}
