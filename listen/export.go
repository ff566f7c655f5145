package listen

import (
	"fmt"
	"os"
	"strings"
)

// Export prepares handing listeners over to a process about to be started. The
// files become its first extra files, and env is added to its environment:
//
//	files, env, err := listen.Export(listeners)
//	cmd.ExtraFiles = files
//	cmd.Env = append(os.Environ(), env...)
//	err = cmd.Start() // then close the files
//
// The successor takes them over with [Config].Inherit and the same endpoints, or
// with systemd: endpoints. Each has the name of its systemd: endpoint if it came
// from one, otherwise its endpoint's String with % and : written as %25 and %3A.
//
// env has LISTEN_FDS and LISTEN_FDNAMES as systemd would set them, but the
// number of the process to come is not known, so LISTEN_PID is set to nothing,
// which also hides the one this process may have been given. Programs that insist
// on LISTEN_PID need a launcher that sets it and execs.
//
// Both processes accept from the same queue until the predecessor closes. When
// the successor is up, call SetUnlinkOnClose(false) on the predecessor's
// listeners, then Close: no connection is lost in between.
//
// The caller closes the files. On error there are none.
func Export(ls []*Listener) (files []*os.File, env []string, err error) {
	names := make([]string, len(ls))
	for i, l := range ls {
		f, err := l.File()
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, nil, fmt.Errorf("hythe: listen: export %s: %w", l.Endpoint(), err)
		}
		files = append(files, f)
		names[i] = passedName(l.Endpoint())
	}
	env = []string{
		fmt.Sprintf("%s=%d", envFDs, len(files)),
		envNames + "=" + strings.Join(names, ":"),
		envPID + "=",
	}
	return files, env, nil
}

// passedName is the name under which e's descriptors are handed over. It has no
// colon, since LISTEN_FDNAMES separates names by them.
func passedName(e Endpoint) string {
	if e.Scheme == SchemeSystemd && e.Name != "" {
		return e.Name
	}
	return escape(e.String(), ":")
}
