// Package listen turns addresses, names and inherited sockets into listening
// sockets, and keeps them listening.
//
// Endpoints are strings for operators and values for programs ([Endpoint],
// [Parse]):
//
//	tcp://:http                          all addresses, port by service name
//	tcp://localhost:7000?bind=any        every address of a name that can be bound
//	unix:///run/echo.sock?mode=0660&owner=www-data
//	unix://@echo                         an abstract name
//	fd:3                                 a descriptor the process was started with
//	systemd:web                          socket activation
//	mem:echo                             an in-memory network, for tests
//
// A [Listener] is a [net.Listener] that serves where others give up:
//
//	ls, err := listen.Listen(ctx, "tcp://:7000", "unix:///run/echo.sock")
//	if err != nil {
//		return err // every address that failed, with the system call that did
//	}
//	for _, l := range ls {
//		go func() {
//			for {
//				c, err := l.Accept()
//				if err != nil {
//					return // closed, or dead beyond repair
//				}
//				go serve(c)
//			}
//		}()
//	}
//
// Accept goes on after errors that concern one connection only. When the process
// runs out of descriptors it backs off, says so once, and accepts again within
// 100 ms of relief. A socket that died is bound again.
//
// # Concurrency
//
// All methods of a Listener may be called at any time from any goroutine; Config
// and Endpoint are plain values. No goroutine is started, except that a timer
// runs while there is a shortage. Hooks are called without a lock being held.
//
// # Shutdown
//
// Close ends every Accept with an error that matches net.ErrClosed, waits for
// nothing, and removes the path of a Unix socket if it is still the one that was
// bound. Pause stops accepting but keeps the port and the kernel's queue; Resume
// goes on. [Export] and [Config].Inherit hand the sockets over to a successor
// process without losing a connection.
package listen
