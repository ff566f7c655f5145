module github.com/hythe-go/hythe/cmd/hythe

go 1.26.0

require github.com/hythe-go/hythe v0.0.0

require golang.org/x/sys v0.49.0 // indirect

replace github.com/hythe-go/hythe => ../..
