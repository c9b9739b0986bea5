// Package closedloop is the Go twin of bench/load.py and bench/loader.py: it keeps so many calls in flight for so long
// and speaks lines of JSON with the benchmark.
package closedloop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// A Task is what one line of standard input asks for; its fields are those of bench.load.Task.
type Task struct {
	InFlight int     `json:"in_flight"`
	Payload  int     `json:"payload"`
	Seconds  float64 `json:"seconds"`
}

// Measured is the answer, with the fields of bench.load.Measured.
type Measured struct {
	PerS   float64 `json:"per_s"`
	P50ms  float64 `json:"p50_ms"`
	P90ms  float64 `json:"p90_ms"`
	P99ms  float64 `json:"p99_ms"`
	Errors int     `json:"errors"`
}

// Serve makes one call to see that the path is there, says so, and then measures what it is asked for until its
// standard input ends.
func Serve(call func(payload []byte) error) error {
	if err := call([]byte("x")); err != nil {
		return fmt.Errorf("the path does not answer: %w", err)
	}
	fmt.Println(`{"ready": true}`)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var task Task
		if err := json.Unmarshal(lines.Bytes(), &task); err != nil {
			return err
		}
		answer, err := json.Marshal(Run(task, call))
		if err != nil {
			return err
		}
		fmt.Println(string(answer))
	}
	return lines.Err()
}

// Run keeps task.InFlight calls under way. The first tenth of the time warms up and is not counted.
func Run(task Task, call func(payload []byte) error) Measured {
	payload := make([]byte, task.Payload)
	for index := range payload {
		payload[index] = 'x'
	}
	length := time.Duration(task.Seconds * float64(time.Second))
	begin := time.Now().Add(length / 10)
	end := begin.Add(length)
	latencies := make([][]time.Duration, task.InFlight)
	failures := make([]int, task.InFlight)
	var workers sync.WaitGroup
	for worker := range task.InFlight {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for started := time.Now(); started.Before(end); {
				err := call(payload)
				now := time.Now()
				if err != nil {
					failures[worker]++
				} else if started.After(begin) {
					latencies[worker] = append(latencies[worker], now.Sub(started))
				}
				started = now
			}
		}()
	}
	workers.Wait()
	elapsed := time.Since(begin)
	failed := 0
	for _, count := range failures {
		failed += count
	}
	return summarize(slices.Concat(latencies...), elapsed, failed)
}

func summarize(latencies []time.Duration, elapsed time.Duration, failed int) Measured {
	slices.Sort(latencies)
	percentile := func(share float64) float64 {
		if len(latencies) == 0 {
			return 0
		}
		index := min(len(latencies)-1, int(float64(len(latencies))*share))
		return float64(latencies[index].Nanoseconds()) / 1e6
	}
	return Measured{
		float64(len(latencies)) / elapsed.Seconds(), percentile(0.50), percentile(0.90), percentile(0.99), failed,
	}
}
