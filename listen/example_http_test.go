package listen_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/hythe-go/hythe/listen"
)

// Listeners are for any server: here net/http's, at every address of an endpoint.
func Example() {
	ls, err := listen.Listen(context.Background(), "tcp4://localhost:0?bind=any")
	if err != nil {
		fmt.Println(err) // every address that failed, with the system call that did
		return
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello from", r.URL.Path)
	})}
	var serving sync.WaitGroup
	for _, l := range ls {
		serving.Go(func() { srv.Serve(l) })
	}

	resp, err := http.Get("http://" + ls[0].Addr().String() + "/here")
	if err != nil {
		fmt.Println(err)
		return
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Print(string(body), err, "\n")
	http.DefaultClient.CloseIdleConnections()
	srv.Close()
	serving.Wait()
	// Output:
	// hello from /here
	// <nil>
}
