// What an application does with gocql and its defaults; prints what it saw, so that two runs compare.
//
//	driver HOST:PORT [snappy]
//
// Near the end it says "failover" and waits for a line on its standard input: whoever runs it may take a server away.
//
// Built with `-tags v1` it uses github.com/gocql/gocql, else github.com/apache/cassandra-gocql-driver/v2.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/big"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"gopkg.in/inf.v0"
)

const (
	rows   = 257
	page   = 50
	rounds = 5
	// A server writes the events of a trace after its answer.
	tracePolls = 200
	tracePause = 50 * time.Millisecond
)

func say(name string, seen ...any) {
	fmt.Println(append([]any{name}, seen...)...)
}

func must(err error, what ...any) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "failed:", fmt.Sprint(what...), err)
		os.Exit(1)
	}
}

// connect changes nothing of the driver's defaults but the port and what a slow machine needs.
func connect(address, keyspace string) *Session {
	host, port, err := net.SplitHostPort(address)
	must(err, "address")
	cluster := NewCluster(host)
	cluster.Port, err = strconv.Atoi(port)
	must(err, "port")
	cluster.Keyspace = keyspace
	cluster.Timeout = 20 * time.Second
	cluster.ConnectTimeout = 20 * time.Second
	if len(os.Args) == 3 {
		cluster.Compressor = Snappy
	}
	session, err := cluster.CreateSession()
	must(err, "connect")
	return session
}

func run(session *Session, text string, values ...any) {
	must(session.Query(text, values...).Exec(), text)
}

func systemTables(session *Session) {
	var key, datacenter, rack, partitioner string
	var tokens []string
	local := "SELECT key, data_center, rack, partitioner, tokens FROM system.local WHERE key = ?"
	must(session.Query(local, "local").Scan(&key, &datacenter, &rack, &partitioner, &tokens), local)
	say("system.local", key, datacenter, rack, partitioner, 0 < len(tokens))
	say("system.local nobody", session.Query(local, "nobody").Scan(&key, &datacenter, &rack, &partitioner, &tokens) == ErrNotFound)
	for _, table := range []string{"system.local", "system.peers", "system.peers_v2"} {
		var count int
		must(session.Query("SELECT count(*) FROM "+table).Scan(&count), table)
		say(table+" count", count)
	}
	names, found := session.Query("SELECT keyspace_name FROM system_schema.keyspaces").Iter(), map[string]bool{}
	for name := ""; names.Scan(&name); {
		found[name] = true
	}
	must(names.Close(), "system_schema")
	say("system_schema", found["system"] && found["system_schema"])
}

func schema(session *Session) {
	run(session, "DROP KEYSPACE IF EXISTS "+keyspace)
	run(session, "CREATE KEYSPACE "+keyspace+" WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
	for _, text := range []string{
		"CREATE TYPE %s.place (street text, number int)",
		"CREATE TABLE %s.kinds (id int PRIMARY KEY, a ascii, b bigint, bl blob, bo boolean, d date, de decimal," +
			" dou double, du duration, f float, i inet, n int, s smallint, t text, ti time, ts timestamp, tu timeuuid," +
			" tn tinyint, u uuid, v varchar, vi varint, l list<int>, se set<text>, m map<text, int>," +
			" tp tuple<int, text>, p frozen<place>, nested map<text, frozen<list<int>>>)",
		"CREATE TABLE %s.pages (id int, n int, v text, PRIMARY KEY (id, n))",
		"CREATE TABLE %s.counts (id int PRIMARY KEY, n counter)",
		"CREATE TABLE %s.once (id int PRIMARY KEY, n int)",
		"ALTER TABLE %s.pages ADD later text",
	} {
		run(session, fmt.Sprintf(text, keyspace))
	}
	metadata, err := session.KeyspaceMetadata(keyspace)
	// The second driver learns of a keyspace by the server's events, a moment later.
	for tries := 0; (err != nil || len(metadata.Tables) < 4 || len(metadata.Tables["pages"].Columns) < 4) && tries < 100; tries++ {
		time.Sleep(100 * time.Millisecond)
		metadata, err = session.KeyspaceMetadata(keyspace)
	}
	must(err, "metadata")
	tables := []string{}
	for name := range metadata.Tables {
		tables = append(tables, name)
	}
	sort.Strings(tables)
	say("tables", tables, len(metadata.Tables["pages"].Columns))
}

type Place struct {
	Street string `cql:"street"`
	Number int    `cql:"number"`
}

// kinds writes one value of each type, prepared, and reads it back.
func kinds(session *Session) {
	timeUUID, _ := ParseUUID("50554d6e-29bb-11e5-b345-feff819cdc9f")
	randomUUID, _ := ParseUUID("00000000-0000-4000-8000-000000000007")
	huge, _ := new(big.Int).SetString("-1267650600228229401496703205376", 10)
	day := time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)
	moment := time.Date(2024, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	columns := []string{"id", "a", "b", "bl", "bo", "d", "de", "dou", "du", "f", "i", "n", "s", "t", "ti", "ts", "tu",
		"tn", "u", "v", "vi", "l", "se", "m", "p", "nested"}
	values := []any{1, "ascii", int64(1) << 60, []byte{0, 255}, true, day, inf.NewDec(-123450, 4), 1.5e300,
		Duration{Months: 1, Days: 2, Nanoseconds: 3}, float32(0.5), net.ParseIP("2001:db8::1"), -1, int16(-32768),
		"text \u2603", time.Duration(1), moment, timeUUID, int8(127), randomUUID, "", huge, []int{3, 1, 2},
		[]string{"x", "y"}, map[string]int{"k": 1}, Place{"Main", 1}, map[string][]int{"k": {1, 2}}}
	insert := fmt.Sprintf("INSERT INTO %s.kinds (%s, tp) VALUES (%s(?, ?))", keyspace, strings.Join(columns, ", "),
		strings.Repeat("?, ", len(columns)))
	run(session, insert, append(append([]any{}, values...), 1, "one")...)

	row := map[string]any{}
	must(session.Query("SELECT * FROM "+keyspace+".kinds WHERE id = ?", 1).MapScan(row), "kinds")
	names := []string{}
	for name := range row {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		say("kind", name, fmt.Sprintf("%T %v", row[name], row[name]))
	}

	nothing := make([]any, len(values))
	unset := append([]any{}, nothing...)
	nothing[0], unset[0] = 2, 2
	nothing[len(nothing)-2] = Unset // a null user type is more than the driver can say
	for i := range unset {
		if 0 < i {
			unset[i] = Unset
		}
	}
	insert = fmt.Sprintf("INSERT INTO %s.kinds (%s) VALUES (%s?)", keyspace, strings.Join(columns, ", "),
		strings.Repeat("?, ", len(columns)-1))
	run(session, insert, nothing...)
	run(session, "UPDATE "+keyspace+".kinds SET n = ?, t = ? WHERE id = ?", 5, "kept", 2)
	run(session, insert, unset...)
	var n int
	var kept string
	must(session.Query("SELECT n, t FROM "+keyspace+".kinds WHERE id = 2").Scan(&n, &kept), "unset")
	say("unset kept", n, kept)
}

func pages(session *Session) {
	var writers sync.WaitGroup
	for writer := 0; writer < 16; writer++ {
		writers.Add(1)
		go func(first int) {
			defer writers.Done()
			for n := first; n < rows; n += 16 {
				run(session, "INSERT INTO "+keyspace+".pages (id, n, v) VALUES (?, ?, ?)", 1, n, fmt.Sprint("v", n))
			}
		}(writer)
	}
	writers.Wait()

	sizes, next, ordered := []int{}, 0, true
	for state := []byte(nil); ; {
		iter := session.Query("SELECT n FROM "+keyspace+".pages WHERE id = ?", 1).PageSize(page).PageState(state).Iter()
		state = iter.PageState()
		sizes = append(sizes, iter.NumRows())
		for n := 0; iter.Scan(&n); next++ {
			ordered = ordered && n == next
		}
		must(iter.Close(), "page")
		if len(state) == 0 {
			break
		}
	}
	say("pages", sizes, ordered && next == rows)
	count, iter := 0, session.Query("SELECT n FROM "+keyspace+".pages").PageSize(page).Iter()
	for n := 0; iter.Scan(&n); count++ {
	}
	must(iter.Close(), "pages")
	say("iterated", count)
}

func batches(session *Session) {
	insert := "INSERT INTO " + keyspace + ".pages (id, n, v) VALUES (?, ?, ?)"
	for id, batch := range map[int]*Batch{10: session.NewBatch(LoggedBatch), 11: session.NewBatch(UnloggedBatch)} {
		batch.Query(insert, id, 1, "one")
		batch.Query(insert, id, 2, "two")
		batch.Query(fmt.Sprintf("DELETE FROM %s.pages WHERE id = %d AND n = 3", keyspace, id))
		must(session.ExecuteBatch(batch), "batch")
	}
	for _, id := range []int{10, 11} {
		say("batch", id, values(session, id))
	}
	counter := session.NewBatch(CounterBatch)
	for step := int64(1); step <= 3; step++ {
		counter.Query("UPDATE "+keyspace+".counts SET n = n + ? WHERE id = ?", step, 1)
	}
	must(session.ExecuteBatch(counter), "counter batch")
	run(session, "UPDATE "+keyspace+".counts SET n = n - 1 WHERE id = 1")
	var n int64
	must(session.Query("SELECT n FROM "+keyspace+".counts WHERE id = ?", 1).Scan(&n), "counter")
	say("counter", n)
}

func odds(session *Session) {
	run(session, "INSERT INTO "+keyspace+".pages (id, n, v) VALUES (20, 1, 'timed') USING TIMESTAMP 1234567890 AND TTL 5000")
	must(session.Query("INSERT INTO "+keyspace+".pages (id, n, v) VALUES (20, 2, ?)", "by the driver").
		WithTimestamp(1234567891).Exec(), "timestamp")
	for n := 1; n <= 2; n++ {
		var at int64
		must(session.Query("SELECT writetime(v) FROM "+keyspace+".pages WHERE id = 20 AND n = ?", n).Scan(&at), "writetime")
		say("timestamp", at)
	}
	for range [2]int{} {
		var id, n int
		applied, err := session.Query("INSERT INTO "+keyspace+".once (id, n) VALUES (?, ?) IF NOT EXISTS", 1, 1).ScanCAS(&id, &n)
		must(err, "conditional")
		say("conditional", applied)
	}
	large := strings.Repeat("x", 2_000_000)
	run(session, "INSERT INTO "+keyspace+".pages (id, n, later) VALUES (?, ?, ?)", 22, 1, large)
	var back string
	must(session.Query("SELECT later FROM "+keyspace+".pages WHERE id = ? AND n = ?", 22, 1).Scan(&back), "big value")
	say("big value", back == large)
}

// tracedIDs is what the driver was told of requests that were traced.
type tracedIDs [][]byte

func (ids *tracedIDs) Trace(id []byte) { *ids = append(*ids, append([]byte{}, id...)) }

func traces(session *Session) {
	insert, asked := "INSERT INTO "+keyspace+".pages (id, n, v) VALUES (?, 1, 'traced')", &tracedIDs{}
	must(session.Query(insert, 23).Trace(asked).Exec(), insert)
	var v string
	must(session.Query("SELECT v FROM "+keyspace+".pages WHERE id = ?", 23).Trace(asked).Scan(&v), "traced")
	batch := session.NewBatch(LoggedBatch)
	batch.Query(insert, 24)
	batch.Trace(asked)
	must(session.ExecuteBatch(batch), "traced batch")
	say("traces", v, len(*asked))
	for _, id := range *asked {
		say("trace", 1 < traceLines(session, id))
	}
}

// traceLines is what the driver's own writer has to say: the first is of the whole, each other of an event.
func traceLines(session *Session, id []byte) (lines int) {
	for tries := 0; lines < 2 && tries < tracePolls; tries++ {
		if 0 < tries {
			time.Sleep(tracePause)
		}
		said := &bytes.Buffer{}
		NewTraceWriter(session, said).Trace(id)
		lines = bytes.Count(said.Bytes(), []byte("\n"))
	}
	return lines
}

func inKeyspace(address string) {
	session := connect(address, keyspace)
	defer session.Close()
	run(session, "INSERT INTO pages (id, n, v) VALUES (?, ?, ?)", 30, 1, "unqualified")
	var v string
	must(session.Query("SELECT v FROM pages WHERE id = ?", 30).Scan(&v), "unqualified")
	say("in keyspace", v)
	run(session, "TRUNCATE counts")
	run(session, "DROP TABLE counts")
}

func refusals(session *Session) {
	for _, text := range []string{"SELEC 1", "SELECT * FROM " + keyspace + ".nothing", "INSERT INTO " + keyspace + ".pages (id, n) VALUES ('a', 1)"} {
		say("refused", session.Query(text).Exec() != nil)
	}
}

// failover writes and reads with statements of before and of after.
func failover(session *Session) {
	insert := "INSERT INTO " + keyspace + ".pages (id, n, v) VALUES (?, ?, ?)"
	run(session, insert, 60, 0, "before")
	say("before", values(session, 60))
	say("failover")
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	must(err, "standard input")
	for n := 0; n < rounds; n++ {
		run(session, insert, 60, n, fmt.Sprint("round ", n))
		say("after", values(session, 60))
	}
	run(session, "UPDATE "+keyspace+".pages SET later = ? WHERE id = ? AND n = ?", "later", 60, 0)
	var later string
	must(session.Query("SELECT later FROM "+keyspace+".pages WHERE id = ? AND n = ?", 60, 0).Scan(&later), "later")
	say("prepared after", later)
}

func values(session *Session, id int) (found []string) {
	iter := session.Query("SELECT v FROM "+keyspace+".pages WHERE id = ?", id).Iter()
	for v := ""; iter.Scan(&v); {
		found = append(found, v)
	}
	must(iter.Close(), "values")
	return found
}

func main() {
	if len(os.Args) < 2 || 3 < len(os.Args) || (len(os.Args) == 3 && os.Args[2] != "snappy") {
		fmt.Fprintln(os.Stderr, "usage: driver HOST:PORT [snappy]")
		os.Exit(2)
	}
	session := connect(os.Args[1], "")
	defer session.Close()
	say("connected")
	systemTables(session)
	schema(session)
	kinds(session)
	vectors(session)
	pages(session)
	batches(session)
	odds(session)
	traces(session)
	inKeyspace(os.Args[1])
	refusals(session)
	failover(session)
	say("done")
}
