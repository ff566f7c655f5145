module github.com/hythe-go/hythe/bench

go 1.26.0
