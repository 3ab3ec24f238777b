// Command bench writes through gocql with many workers and says what that cost the application.
//
// It speaks the same protocol with its parent as the load generator: `ready`, a line to start,
// one line of JSON, a line to end.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

func main() {
	target := flag.String("target", "127.0.0.1:9042", "host:port of the cluster or the proxy")
	workers := flag.Int("workers", 64, "goroutines that write")
	seconds := flag.Float64("seconds", 2, "how long to measure")
	paced := flag.Bool("paced", false, "wait for the parent before and after")
	flag.Parse()
	if err := run(*target, *workers, *seconds, *paced); err != nil {
		fmt.Fprintln(os.Stderr, "go bench:", err)
		os.Exit(1)
	}
}

func run(target string, workers int, seconds float64, paced bool) error {
	cluster := gocql.NewCluster(target)
	cluster.Timeout = 10 * time.Second
	session, err := cluster.CreateSession()
	if err != nil {
		return err
	}
	defer session.Close()

	if warm := write(session, workers, 200*time.Millisecond); warm.failed != nil {
		return warm.failed
	}
	in := bufio.NewReader(os.Stdin)
	if paced {
		fmt.Println("ready")
		_, _ = in.ReadString('\n')
	}
	before := cpu()
	done := write(session, workers, time.Duration(seconds*float64(time.Second)))
	used := cpu() - before
	if err := json.NewEncoder(os.Stdout).Encode(done.report(used)); err != nil {
		return err
	}
	if paced {
		_, _ = in.ReadString('\n')
	}
	return nil
}

// tally is what one run, or one worker of it, counted.
type tally struct {
	latencies []time.Duration
	elapsed   time.Duration
	errors    int
	failed    error
}

// write keeps every worker writing until the window is over.
func write(session *gocql.Session, workers int, window time.Duration) tally {
	value := make([]byte, 100)
	results := make([]tally, workers)
	start := time.Now()
	var group sync.WaitGroup
	for worker := range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			mine := &results[worker]
			for count := 0; time.Since(start) < window; count++ {
				key := strconv.Itoa(worker) + "-" + strconv.Itoa(count)
				sent := time.Now()
				err := session.Query("INSERT INTO bench.t (k, v) VALUES (?, ?)", key, value).Exec()
				mine.latencies = append(mine.latencies, time.Since(sent))
				if err != nil {
					mine.errors++
					mine.failed = err
				}
			}
		}()
	}
	group.Wait()
	all := tally{elapsed: time.Since(start)}
	for _, mine := range results {
		all.latencies = append(all.latencies, mine.latencies...)
		all.errors += mine.errors
		if all.failed == nil {
			all.failed = mine.failed
		}
	}
	return all
}

func (t tally) report(used time.Duration) map[string]any {
	slices.Sort(t.latencies)
	at := func(quantile float64) float64 {
		if len(t.latencies) == 0 {
			return 0
		}
		index := min(int(quantile*float64(len(t.latencies))), len(t.latencies)-1)
		return float64(t.latencies[index]) / 1e3
	}
	requests := len(t.latencies)
	report := map[string]any{
		"requests": requests,
		"seconds":  t.elapsed.Seconds(),
		"rate":     float64(requests) / t.elapsed.Seconds(),
		"p50_us":   at(0.5),
		"p99_us":   at(0.99),
		"p999_us":  at(0.999),
		"errors":   t.errors,
		"cpu_us":   float64(used.Microseconds()) / float64(max(requests, 1)),
	}
	if t.failed != nil {
		report["first_error"] = t.failed.Error()
	}
	return report
}

// cpu is the user and system time of this process so far.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
