package fcgi

import (
	"io"
	"iter"
	"net/http"
)

// Stream writes the chunks to w, each of them leaving at once, and asks for the
// next one when there is room: output that the web server does not take yet
// stops the iterator. It returns the iterator's first error, or that of a write
// that failed. The request ends when the handler returns. A chunk is not kept.
func Stream(w http.ResponseWriter, chunks iter.Seq2[[]byte, error]) error {
	flusher := http.NewResponseController(w)
	for chunk, err := range chunks {
		if err != nil {
			return err
		}
		n, err := w.Write(chunk)
		if err == nil && n < len(chunk) {
			err = io.ErrShortWrite
		}
		if err == nil {
			err = flusher.Flush()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
