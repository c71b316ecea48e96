package server

import (
	"context"
	stderrors "errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tidemark/tidemark/pkg/errors"
	"github.com/tidemark/tidemark/pkg/etcdmeta"
	"github.com/tidemark/tidemark/pkg/model"
	"github.com/tidemark/tidemark/pkg/owner"
	"github.com/tidemark/tidemark/pkg/peer"
	"github.com/tidemark/tidemark/pkg/server/agent"
)

// registration is one life of this server as a capture: from a session's
// begin until it is lost or the server stops.
type registration struct {
	info    model.CaptureInfo
	session *etcdmeta.Session
	agent   *agent.Agent
	// resigned is closed when the capture, stopping, has left the election.
	resigned chan struct{}
	done     chan struct{}
	// cutOff says that etcd did not answer when the election was given up.
	cutOff atomic.Bool
	// lost says that the capture's key is gone, or soon will be.
	lost atomic.Bool
}

// fence fails when another capture may have got what this one does.
func (r *registration) fence() error {
	if !r.lost.Load() && r.session.Valid() {
		return nil
	}
	return errors.ErrCaptureSuicide.New()
}

var errSessionLost = stderrors.New("the session with etcd is lost")

// capture registers this server and works until ctx ends or the registration
// is lost.
func (s *Server) capture(ctx context.Context) error {
	id := uuid.NewString()
	ttl := time.Duration(s.o.Config.CaptureSessionTTL) * time.Second
	// The session's lease is kept alive until it is given back at the end.
	sessionCtx, endSession := context.WithCancel(context.WithoutCancel(ctx))
	defer endSession()
	session, err := s.openSession(ctx, sessionCtx, ttl, id)
	if err != nil {
		return err
	}
	r := &registration{info: s.captureInfo(id), session: session, resigned: make(chan struct{}), done: make(chan struct{})}
	newProcessor := func(info *etcdmeta.ChangefeedInfo) (agent.Processor, error) { return s.newProcessor(r, info) }
	r.agent = agent.New(newProcessor, s.takeNoMore, s.logger)
	defer close(r.done)
	defer s.deregister(r)
	r.agent.SetLiveness(model.Liveness(s.liveness.Load()))
	if err := session.Register(ctx, &r.info); err != nil {
		r.agent.Close()
		return err
	}
	if err := session.Announce(ctx, s.gcService, &r.info); err != nil {
		s.logger.Warn("cannot announce this capture in the topology", zap.Error(err))
	}
	s.current.Store(r)
	r.agent.SetLiveness(model.Liveness(s.liveness.Load())) // PrepareStop may have missed it
	s.logger.Info("capture registered", zap.String("capture", id), zap.String("addr", r.info.AdvertiseAddr))

	err = s.work(ctx, r)
	// No other capture must get the tables before the processors have ended.
	r.agent.Close()
	return err
}

// work does everything that a registered capture does, until ctx ends or the
// registration is lost. An orderly stop begins with the processors, while the
// owner still listens; only then the rest ends.
func (s *Server) work(ctx context.Context, r *registration) error {
	workCtx, endWork := context.WithCancel(context.WithoutCancel(ctx))
	defer endWork()
	targets := make(chan peer.Target, 1)
	ttl := time.Duration(s.o.Config.CaptureSessionTTL) * time.Second
	link := peer.NewLink(r.info.ID, r.agent, s.dialPeer, peer.IsolationAfter(ttl), s.logger)
	group, workCtx := errgroup.WithContext(workCtx)
	group.Go(func() error {
		err := s.followOwner(workCtx, r, targets)
		if stderrors.Is(err, errors.ErrCaptureSuicide) {
			s.lose(r)
		}
		return err
	})
	group.Go(func() error { return link.Run(workCtx, targets) })
	group.Go(func() error { return s.campaign(workCtx, r) })
	group.Go(func() error {
		select {
		case <-workCtx.Done():
			return nil
		case <-r.session.Done():
			s.lose(r)
			return errSessionLost
		}
	})
	group.Go(func() error {
		select {
		case <-workCtx.Done():
		case <-ctx.Done():
			r.agent.SetLiveness(model.LivenessStopping)
			r.agent.Close()
			endWork()
		}
		return nil
	})
	return group.Wait()
}

// lose ends what the capture does, at once: another one may get its tables soon.
func (s *Server) lose(r *registration) {
	r.lost.Store(true)
	s.current.CompareAndSwap(r, nil)
	r.agent.Close()
}

// sessionPause is waited between two attempts to open a session.
const sessionPause = 500 * time.Millisecond

// openSession waits for etcd as long as ctx lasts. The session then lives on
// with life.
func (s *Server) openSession(ctx, life context.Context, ttl time.Duration, id model.CaptureID) (*etcdmeta.Session, error) {
	life, cancel := context.WithCancel(life)
	stop := context.AfterFunc(ctx, cancel)
	for {
		session, err := s.meta.NewSession(life, ttl, id)
		if err == nil && stop() {
			s.dropLeftover(ctx)
			return session, nil
		}
		if ctx.Err() != nil {
			cancel()
			return nil, context.Cause(ctx)
		}
		s.logger.Warn("cannot open a session with etcd, will try again", zap.Error(err))
		pause(ctx, sessionPause)
	}
}

// dropLeftover gives an earlier session back that could not be given back
// when it ended.
func (s *Server) dropLeftover(ctx context.Context) {
	if s.leftover == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, deregisterTimeout)
	defer cancel()
	if err := s.leftover.Close(ctx); err != nil {
		s.logger.Info("keys of an earlier session stay until they expire", zap.Error(err))
	}
	s.leftover = nil
}

func (s *Server) deregister(r *registration) {
	s.current.CompareAndSwap(r, nil)
	limit := deregisterTimeout
	if r.cutOff.Load() {
		limit = cutOffTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := r.session.Close(ctx); err != nil {
		s.leftover = r.session
		s.logger.Info("the capture's keys stay until they expire", zap.Error(err))
	}
}

func (s *Server) captureInfo(id model.CaptureID) model.CaptureInfo {
	path, err := os.Executable()
	if err != nil {
		path = ""
	}
	return model.CaptureInfo{
		ID: id, AdvertiseAddr: s.advertiseAddr(), Version: s.o.Version, GitHash: s.o.GitHash,
		DeployPath: path, StartTimestamp: time.Now().Unix(),
	}
}

// followOwner tells the link who the owner is. It fails when this capture's
// own registration is gone.
func (s *Server) followOwner(ctx context.Context, r *registration, targets chan peer.Target) error {
	for ctx.Err() == nil {
		state, err := s.meta.LoadMeta(ctx)
		if err != nil {
			return err
		}
		if err := s.announceOwner(r, state, targets); err != nil {
			return err
		}
		for update := range s.meta.Watch(ctx, s.meta.Keys().MetaPrefix(), state.Revision) {
			state.Apply(update)
			if err := s.announceOwner(r, state, targets); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Server) announceOwner(r *registration, state *etcdmeta.State, targets chan peer.Target) error {
	if _, ok := state.Captures[r.info.ID]; !ok {
		return errors.ErrCaptureSuicide.New()
	}
	who, ok := state.Owner()
	if !ok {
		return nil
	}
	info, ok := state.Captures[who.Capture]
	if !ok {
		return nil // its registration comes or goes at this moment
	}
	target := peer.Target{Capture: who.Capture, Addr: info.AdvertiseAddr, Revision: who.Fence.Rev}
	if who.Capture == r.info.ID {
		target.Addr = loopback(s.Addr())
	}
	for {
		select {
		case targets <- target:
			return nil
		case <-targets: // the newer one replaces it
		}
	}
}

// loopback is how a process reaches its own listener.
func loopback(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if ip.To4() != nil {
			return net.JoinHostPort("127.0.0.1", port)
		}
		return net.JoinHostPort("::1", port)
	}
	return addr
}

// campaignPause is the least time between two attempts to become the owner.
const campaignPause = time.Second

// campaign takes part in the election, and does the owner's work while
// elected, until ctx ends or the server is about to stop.
func (s *Server) campaign(ctx context.Context, r *registration) error {
	defer close(r.resigned)
	campaignCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopWatch := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-s.stopping:
			cancel()
		case <-stopWatch:
		}
	}()
	defer func() { close(stopWatch); <-watched }()

	for campaignCtx.Err() == nil {
		fence, err := r.session.Campaign(campaignCtx)
		if err == nil {
			err = s.rule(campaignCtx, r, fence)
		}
		if stderrors.Is(err, errors.ErrUpdateServiceSafepointFailed) {
			return err
		}
		if campaignCtx.Err() == nil {
			if err != nil {
				s.logger.Warn("election or term ended", zap.Error(err))
			}
			pause(campaignCtx, campaignPause)
		}
	}
	return nil
}

// rule does the owner's work for one term and gives the election up after it.
func (s *Server) rule(ctx context.Context, r *registration, fence etcdmeta.Fence) error {
	term := owner.New(s.ownerOptions(r, fence))
	s.term.Store(term)
	err := term.Run(ctx)
	s.term.CompareAndSwap(term, nil)
	select {
	case <-r.session.Done(): // the key is gone or will soon be
		r.cutOff.Store(true)
		return err
	default:
	}
	resignCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deregisterTimeout)
	defer cancel()
	if resignErr := r.session.Resign(resignCtx, fence); resignErr != nil {
		r.cutOff.Store(true)
		s.logger.Info("the election key stays until it expires", zap.Error(resignErr))
	}
	return err
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
