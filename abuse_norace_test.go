//go:build !race

package hythe_test

const raceEnabled = false
