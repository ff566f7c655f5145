module github.com/hythe-go/hythe/bench

go 1.26.0

require (
	github.com/hythe-go/hythe v0.0.0
	golang.org/x/sys v0.49.0
)

replace github.com/hythe-go/hythe => ..
