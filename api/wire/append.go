package wire

import (
	"encoding/json"
	"strconv"
)

// Lists are the answers that grow with the number of changefeeds, and the ones
// that dashboards ask for. What is in them is written without reflection: the
// methods here write what encoding/json would.

// AppendJSON appends the summary to b.
func (s Summary) AppendJSON(b []byte) ([]byte, error) {
	b = append(b, `{"upstream_id":`...)
	b = strconv.AppendUint(b, s.UpstreamID, 10)
	b = append(b, `,"namespace":`...)
	b = appendString(b, s.Namespace)
	b = append(b, `,"id":`...)
	b = appendString(b, s.ID)
	b = append(b, `,"state":`...)
	b = appendString(b, string(s.State))
	b = append(b, `,"checkpoint_tso":`...)
	b = strconv.AppendUint(b, s.CheckpointTSO, 10)
	b = append(b, `,"checkpoint_time":`...)
	b = s.CheckpointTime.appendJSON(b)
	b = append(b, `,"error":`...)
	if s.Error == nil {
		return append(b, `null}`...), nil
	}
	text, err := json.Marshal(s.Error)
	if err != nil {
		return b, err
	}
	return append(append(b, text...), '}'), nil
}

// AppendJSON appends the processor to b. It never fails.
func (p Processor) AppendJSON(b []byte) ([]byte, error) {
	b = append(b, `{"namespace":`...)
	b = appendString(b, p.Namespace)
	b = append(b, `,"changefeed_id":`...)
	b = appendString(b, p.ChangefeedID)
	b = append(b, `,"capture_id":`...)
	b = appendString(b, p.CaptureID)
	return append(b, '}'), nil
}

// AppendJSON appends the capture to b. It never fails.
func (c Capture) AppendJSON(b []byte) ([]byte, error) {
	b = append(b, `{"id":`...)
	b = appendString(b, c.ID)
	b = append(b, `,"is_owner":`...)
	b = strconv.AppendBool(b, c.IsOwner)
	b = append(b, `,"address":`...)
	b = appendString(b, c.Address)
	b = append(b, `,"cluster_id":`...)
	b = appendString(b, c.ClusterID)
	return append(b, '}'), nil
}

// appendString quotes s. Ids and states need no escapes; what does is left to
// encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, _ := json.Marshal(s) // a string always has a form
			return append(b, text...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
