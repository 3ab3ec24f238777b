//go:build !v1

package main

import (
	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/apache/cassandra-gocql-driver/v2/snappy"
)

const keyspace = "drivers_gocql_v2"

type (
	Batch    = gocql.Batch
	Duration = gocql.Duration
	Session  = gocql.Session
	UUID     = gocql.UUID
)

var (
	LoggedBatch   = gocql.LoggedBatch
	UnloggedBatch = gocql.UnloggedBatch
	CounterBatch  = gocql.CounterBatch
	ErrNotFound   = gocql.ErrNotFound
	Unset         = gocql.UnsetValue
	NewCluster    = gocql.NewCluster
	ParseUUID     = gocql.ParseUUID
	Snappy        = snappy.SnappyCompressor{}
)
