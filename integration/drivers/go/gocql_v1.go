//go:build v1

package main

import gocql "github.com/gocql/gocql"

const keyspace = "drivers_gocql_v1"

type (
	Batch    = gocql.Batch
	Duration = gocql.Duration
	Session  = gocql.Session
	UUID     = gocql.UUID
)

var (
	LoggedBatch    = gocql.LoggedBatch
	UnloggedBatch  = gocql.UnloggedBatch
	CounterBatch   = gocql.CounterBatch
	ErrNotFound    = gocql.ErrNotFound
	Unset          = gocql.UnsetValue
	NewCluster     = gocql.NewCluster
	NewTraceWriter = gocql.NewTraceWriter
	ParseUUID      = gocql.ParseUUID
	Snappy         = gocql.SnappyCompressor{}
)

// vectors does nothing: to this driver a vector is a custom type that it can neither write nor read.
func vectors(*Session) {}
