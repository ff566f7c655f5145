//go:build race

package hythe_test

const raceEnabled = true // everything takes several times as long
