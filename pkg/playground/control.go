package playground

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
)

const (
	// controlPath is where PD's port serves what a playground can do and a real cluster cannot.
	controlPath = "/playground/"
	defaultDown = 2 * time.Second
)

// controlHandler serves faults on demand:
//
//	POST /playground/restart-pd?down=2s
//
// cuts every connection to PD and starts it again after that time.
func (p *Playground) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+controlPath+"restart-pd", func(w http.ResponseWriter, r *http.Request) {
		down := defaultDown
		if text := r.URL.Query().Get("down"); text != "" {
			var err error
			if down, err = time.ParseDuration(text); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		// The answer has to leave before the connection is cut.
		w.WriteHeader(http.StatusAccepted)
		_ = http.NewResponseController(w).Flush()
		p.background(func() {
			if err := p.RestartPD(p.life, down); err != nil {
				p.fail("PD", err)
			}
		})
	})
	return mux
}

// RestartPD stops PD as a kill would and starts it again after a while, on the same port. It returns when PD answers;
// if the context ends before, PD is started at once.
func (p *Playground) RestartPD(ctx context.Context, down time.Duration) error {
	p.restart.Lock()
	defer p.restart.Unlock()
	p.log.Info("PD stops", zap.Duration("for", down))
	p.pd.Kill()
	timer := time.NewTimer(down)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	// The rest of the playground cannot even end without PD.
	if err := p.pd.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start PD again: %w", err)
	}
	p.log.Info("PD runs again")
	return nil
}
