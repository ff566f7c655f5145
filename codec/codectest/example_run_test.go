package codectest_test

import "testing"

func TestExampleIsTrue(t *testing.T) { testWords(t) }
