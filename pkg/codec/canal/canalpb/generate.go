// Package canalpb holds the generated messages of Canal's protocol.
package canalpb

//go:generate protoc --go_out=. --go_opt=paths=source_relative canal.proto
