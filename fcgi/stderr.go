package fcgi

import (
	"context"
	"io"
	"log/slog"
	"os"
)

// Stderr returns a writer onto the FCGI_STDERR stream of the request whose
// context ctx is, or comes from: what is written to it at once reaches the web
// server's error log. Its Write fails when the request has ended. Outside of a
// request it is os.Stderr. It is safe for concurrent use; each Write of up to
// 32,752 bytes is one record.
func Stderr(ctx context.Context) io.Writer {
	if req := requestOf(ctx); req != nil {
		return stderr{req}
	}
	return os.Stderr
}

type stderr struct{ req *request }

func (s stderr) Write(p []byte) (n int, err error) {
	buf := batchPool.Get().(*[batchBytes]byte)
	defer batchPool.Put(buf)
	for len(p) > 0 && err == nil {
		k := min(len(p), pieceContent)
		if err = s.req.c.send(s.req, appendRecord(buf[:0], typeStderr, s.req.id, p[:k]), typeStderr); err == nil {
			n += k
			p = p[k:]
		}
	}
	return n, err
}

// LogHandler returns a slog.Handler that writes each record to the FCGI_STDERR
// stream of the request whose context it is logged with: to Stderr(ctx).
// format makes the handler that writes, as in
//
//	fcgi.LogHandler(func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) })
func LogHandler(format func(io.Writer) slog.Handler) slog.Handler {
	return &logHandler{format: format, level: format(io.Discard)}
}

type logHandler struct {
	format func(io.Writer) slog.Handler
	level  slog.Handler // is asked what is enabled
}

func (h *logHandler) Enabled(ctx context.Context, l slog.Level) bool { return h.level.Enabled(ctx, l) }

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.format(Stderr(ctx)).Handle(ctx, r)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return LogHandler(func(w io.Writer) slog.Handler { return h.format(w).WithAttrs(attrs) })
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return LogHandler(func(w io.Writer) slog.Handler { return h.format(w).WithGroup(name) })
}
