// Package load is the Go twin of bench/load.py and bench/loader.py: it keeps so many calls in flight, or starts so many
// per second, and speaks lines of JSON with the benchmark.
package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Task is what one line of standard input asks for; its fields are those of bench.load.Task.
type Task struct {
	InFlight int     `json:"in_flight"`
	Payload  int     `json:"payload"`
	Seconds  float64 `json:"seconds"`
	Rate     float64 `json:"rate"`
}

// Measured is the answer, with the fields of bench.load.Measured.
type Measured struct {
	PerS   float64 `json:"per_s"`
	P50ms  float64 `json:"p50_ms"`
	P90ms  float64 `json:"p90_ms"`
	P99ms  float64 `json:"p99_ms"`
	Errors int     `json:"errors"`
}

// A Call sends the payload and checks the answer.
type Call func(payload []byte) error

// Serve makes one call on every connection to see that the path is there, says so, and then measures what it is asked
// for until its standard input ends. A closed loop uses the first connection alone.
func Serve(calls ...Call) error {
	for _, call := range calls {
		if err := call([]byte("x")); err != nil {
			return fmt.Errorf("the path does not answer: %w", err)
		}
	}
	fmt.Println(`{"ready": true}`)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var task Task
		if err := json.Unmarshal(lines.Bytes(), &task); err != nil {
			return err
		}
		answer, err := json.Marshal(measure(task, calls))
		if err != nil {
			return err
		}
		fmt.Println(string(answer))
	}
	return lines.Err()
}

func measure(task Task, calls []Call) Measured {
	payload := bytes.Repeat([]byte("x"), task.Payload)
	length := time.Duration(task.Seconds * float64(time.Second))
	if task.Rate > 0 {
		return openLoop(task.Rate, length, payload, calls)
	}
	return closedLoop(task.InFlight, length, payload, calls[0])
}

// closedLoop keeps so many calls under way. The first tenth of the time warms up and is not counted.
func closedLoop(inFlight int, length time.Duration, payload []byte, call Call) Measured {
	begin := time.Now().Add(length / 10)
	end := begin.Add(length)
	latencies := make([][]time.Duration, inFlight)
	failures := make([]int, inFlight)
	var workers sync.WaitGroup
	for worker := range inFlight {
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

// openLoop starts calls when they are due, whether or not earlier ones were answered; a latency counts from when the
// call was due, so that a stall is charged to every call that it delayed.
func openLoop(rate float64, length time.Duration, payload []byte, calls []Call) Measured {
	warmUp := length / 10
	count := int((length + warmUp).Seconds() * rate)
	latencies := make([]time.Duration, count)
	var pending sync.WaitGroup
	var failed atomic.Int64
	start := time.Now().Add(10 * time.Millisecond)
	for number := range count {
		due := start.Add(time.Duration(float64(number) / rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		pending.Add(1)
		go func() {
			defer pending.Done()
			if err := calls[number%len(calls)](payload); err != nil {
				failed.Add(1)
			} else if !due.Before(start.Add(warmUp)) {
				latencies[number] = time.Since(due)
			}
		}()
	}
	pending.Wait()
	counted := slices.DeleteFunc(latencies, func(latency time.Duration) bool { return latency == 0 })
	return summarize(counted, length, int(failed.Load()))
}

func summarize(latencies []time.Duration, elapsed time.Duration, failed int) Measured {
	slices.Sort(latencies)
	percentile := func(share float64) float64 {
		if len(latencies) == 0 {
			return 0
		}
		index := max(0, int(math.Ceil(float64(len(latencies))*share))-1)
		return float64(latencies[index].Nanoseconds()) / 1e6
	}
	return Measured{
		float64(len(latencies)) / elapsed.Seconds(), percentile(0.50), percentile(0.90), percentile(0.99), failed,
	}
}
