package fcgi

import (
	"context"
	"errors"
	"time"
)

// ErrAborted is the cause of the context of a request that the web server has
// aborted, with ABORT_REQUEST, and the error of its body and its ResponseWriter.
var ErrAborted = errors.New("fcgi: request aborted")

// requestContext is a request's context: the request under another name. The
// real one is made when somebody first asks for it, since most handlers do not.
type requestContext request

var _ context.Context = (*requestContext)(nil)

type requestKey struct{}

// requestOf returns the request behind a context, nil if there is none.
func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// inner returns the real context.
func (rc *requestContext) inner() context.Context {
	rc.ctxMu.Lock()
	defer rc.ctxMu.Unlock()
	switch {
	case rc.ctx != nil:
	case rc.cause != nil: // it may be too late for the connection's
		rc.ctx, rc.cancelCtx = context.WithCancelCause(context.WithoutCancel(rc.c.st.Context()))
		rc.cancelCtx(rc.cause)
	default:
		rc.ctx, rc.cancelCtx = context.WithCancelCause(rc.c.st.Context())
	}
	return rc.ctx
}

// cancel cancels the context. The first cause counts.
func (rc *requestContext) cancel(cause error) {
	rc.ctxMu.Lock()
	defer rc.ctxMu.Unlock()
	if rc.cause == nil {
		rc.cause = cause
	}
	if rc.ctx != nil {
		rc.cancelCtx(rc.cause)
	}
}

func (rc *requestContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (rc *requestContext) Done() <-chan struct{}       { return rc.inner().Done() }
func (rc *requestContext) Err() error                  { return rc.inner().Err() }

func (rc *requestContext) Value(key any) any {
	if key == (requestKey{}) {
		return (*request)(rc)
	}
	return rc.inner().Value(key)
}
