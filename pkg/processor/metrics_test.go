package processor

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// figuresOf finds the series of the rig's changefeed, by the metric's name and
// the type label: for each how many observations it has, if it has any.
func figuresOf(t *testing.T, r *prometheus.Registry) map[string]uint64 {
	families, err := r.Gather()
	require.NoError(t, err)
	found := map[string]uint64{}
	for _, f := range families {
		for _, m := range f.Metric {
			labels := map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["namespace"] == "default" && labels["changefeed"] == "test" {
				found[f.GetName()+" "+labels["type"]] = m.GetHistogram().GetSampleCount()
			}
		}
	}
	return found
}

// TestFigures: what dashboards ask for is there as long as the changefeed runs.
func TestFigures(t *testing.T) {
	registry := prometheus.NewRegistry()
	r := newRig(t, func(o *Options) { o.Registerer = registry })
	r.open(1)
	r.add(1, 10)
	s := r.up.sub(t, 1)
	s.rows(change(20, "a"))
	s.resolve(40)
	r.waitCheckpoint(40)
	running := figuresOf(t, registry)
	for _, name := range []string{
		"ticdc_processor_processor_tick_duration ", "ticdc_processor_num_of_tables ", "ticdc_processor_memory_consumption ",
		"ticdc_processor_exit_with_error_count ", "ticdc_puller_txn_collect_event_count kv", "ticdc_sorter_output_event_count kv",
		"ticdc_sink_table_sink_total_rows_count ", "ticdc_sinkmanager_memory_quota total", "ticdc_sinkmanager_memory_quota used",
	} {
		require.Contains(t, running, name)
	}
	r.waitFor("a round to be counted", func() bool {
		return figuresOf(t, registry)["ticdc_processor_processor_tick_duration "] > 0
	})
	require.NoError(t, r.stop())
	ended := figuresOf(t, registry)
	require.Len(t, ended, 1, "the errors of runs are seen for a while after them")
	require.Contains(t, ended, "ticdc_processor_exit_with_error_count ")
}
