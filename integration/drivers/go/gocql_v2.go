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
	LoggedBatch    = gocql.LoggedBatch
	UnloggedBatch  = gocql.UnloggedBatch
	CounterBatch   = gocql.CounterBatch
	ErrNotFound    = gocql.ErrNotFound
	Unset          = gocql.UnsetValue
	NewCluster     = gocql.NewCluster
	NewTraceWriter = gocql.NewTraceWriter
	ParseUUID      = gocql.ParseUUID
	Snappy         = snappy.SnappyCompressor{}
)

func vectors(session *Session) {
	run(session, "CREATE TABLE "+keyspace+".vectors (id int PRIMARY KEY, f vector<float, 3>, t vector<text, 2>)")
	run(session, "INSERT INTO "+keyspace+".vectors (id, f, t) VALUES (?, ?, ?)", 1, []float32{0.5, 0.25, -1}, []string{"", "one"})
	run(session, "INSERT INTO "+keyspace+".vectors (id, f, t) VALUES (?, ?, ?)", 2, nil, nil)
	for id := 1; id <= 2; id++ {
		var f []float32
		var t []string
		must(session.Query("SELECT f, t FROM "+keyspace+".vectors WHERE id = ?", id).Scan(&f, &t), "vectors")
		say("vectors", f, len(t), t)
	}
}
