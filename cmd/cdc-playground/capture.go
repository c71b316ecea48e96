package main

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/tidemark/tidemark/pkg/playground"
)

// runCapture runs the same server as `cdc server`.
func runCapture(zap.AtomicLevel) playground.CaptureFunc {
	return func(context.Context, playground.CaptureConfig) error { return errors.New("no server") }
}
