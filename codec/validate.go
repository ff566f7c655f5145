package codec

import "fmt"

// validate returns the error that the settings of v have, if v can tell.
func validate(v any) error {
	if v, ok := v.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// needCodec is the error of a combinator that was given no codec, or one with wrong settings.
func needCodec(who string, c any) error {
	if c == nil {
		return fmt.Errorf("codec: %s: the codec below it is nil", who)
	}
	return validate(c)
}

// needMax is the error of a limit that is no limit.
func needMax(field string, max int) error {
	if max < 0 || max > maxMax {
		return fmt.Errorf("codec: %s is %d: it must be between 1 and %d bytes, or 0 for %d", field, max, maxMax, DefaultMax)
	}
	return nil
}

// invalid stands for a codec that cannot be built from its settings.
type invalid[In, Out any] struct{ err error }

func (c invalid[In, Out]) Validate() error { return c.err }

func (c invalid[In, Out]) Decode([]byte, bool) (n int, msg In, err error) { return 0, msg, c.err }

func (c invalid[In, Out]) Append(dst []byte, _ Out) ([]byte, error) { return dst, c.err }
