// Package bench measures hythe side by side with its peers.
package bench
