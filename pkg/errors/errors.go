// Package errors defines the coded errors of the server. The code is the
// contract with clients: API answers, changefeed states and logs carry it, and
// whether an error is retried is a property of its code alone.
package errors

import (
	"errors"
	"fmt"
	"strings"
)

// Code is one kind of error. Values are declared in codes.go and are
// immutable; compare with Is.
type Code struct {
	code   string // text form, "CDC:ErrXxx"
	format string // message with fmt verbs for its parameters
}

// Text returns the code as clients see it.
func (c *Code) Text() string { return c.code }

// Error makes a Code usable as the target of errors.Is.
func (c *Code) Error() string { return c.code }

// New makes an error of this code from the values of its message. Without
// values the message keeps its literal placeholders, as TiCDC's does.
func (c *Code) New(args ...any) error { return c.Wrap(nil, args...) }

// Wrap is New with a cause, whose text is appended to the message.
func (c *Code) Wrap(cause error, args ...any) error {
	msg := c.format
	if len(args) > 0 {
		msg = fmt.Sprintf(c.format, args...)
	}
	return &Coded{kind: c, msg: msg, cause: cause}
}

// Msg makes an error of this code whose message text is replaced.
func (c *Code) Msg(format string, args ...any) error {
	return &Coded{kind: c, msg: fmt.Sprintf(format, args...)}
}

// Coded is an error with a code. Its text is "[code]message" and, where it
// wraps a cause, ": cause".
type Coded struct {
	kind  *Code
	msg   string
	cause error
}

// Error renders the error as clients see it in error_msg.
func (e *Coded) Error() string {
	s := "[" + e.kind.code + "]" + e.msg
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap returns the cause, nil if there is none.
func (e *Coded) Unwrap() error { return e.cause }

// Is reports whether target is this error's code.
func (e *Coded) Is(target error) bool { return target == error(e.kind) }

// CodeOf returns the code text of the outermost coded error in the chain, ""
// if none has one.
func CodeOf(err error) string {
	var c *Coded
	if errors.As(err, &c) {
		return c.kind.code
	}
	return ""
}

// matches tells whether err has one of the codes or mentions it in its text.
// The text counts because an error may have crossed a process boundary.
func matches(err error, codes []*Code) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	for _, c := range codes {
		if errors.Is(err, c) || strings.Contains(text, c.code) {
			return true
		}
	}
	return false
}

// IsGCFastFail tells errors that fail a changefeed at once, because the data
// it needs is gone upstream. Such a changefeed no longer holds GC.
func IsGCFastFail(err error) bool { return matches(err, gcFastFail()) }

// IsUnretryable tells errors after which a changefeed is failed at once.
func IsUnretryable(err error) bool { return IsGCFastFail(err) || matches(err, unretryable()) }

// IsBadRequest tells errors that the API answers with status 400 instead of 500.
func IsBadRequest(err error) bool { return matches(err, badRequest()) }

// IsGCFastFailCode is IsGCFastFail for a stored code.
func IsGCFastFailCode(code string) bool {
	for _, c := range gcFastFail() {
		if c.code == code {
			return true
		}
	}
	return false
}
