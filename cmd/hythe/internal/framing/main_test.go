package framing_test

import (
	"os"
	"testing"

	"github.com/hythe-go/hythe/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }
