// Package codectest checks that a codec keeps the promises of package codec. Give it the codec and a few messages:
//
//	func TestFrames(t *testing.T) {
//		codectest.Run(t, frames{}, frame{'a', ""}, frame{'b', "hello"})
//	}
//
//	func FuzzFrames(f *testing.F) {
//		codectest.Fuzz(f, frames{}, "a\x00b\x05hello")
//	}
//
// That encodes the messages, decodes what came out whole, byte by byte, cut at each position and at each two positions,
// many frames at once and two streams in turns, cuts it short at each position, damages it, writes over the input after
// each call, and looks at what Append does to the slice it extends. A [Suite] checks more where it is told more: golden
// streams, frames and messages over the limit, messages that must be refused, and budgets of allocations.
package codectest
