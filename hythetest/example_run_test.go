package hythetest_test

import (
	"testing"
	"testing/synctest"
)

func TestExamplesAreTrue(t *testing.T) {
	t.Run("idle", testIdle)
	t.Run("drain", func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testDrain(t) }) })
}
