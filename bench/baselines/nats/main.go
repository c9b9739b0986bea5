// A NATS server, a responder and a load generator, for `python -m bench.baselines`.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	loop "bench/load"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const subject = "bench.echo"

func main() {
	if len(os.Args) < 2 {
		log.Fatal("say server, respond or load")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	port := flags.Int("port", 0, "of the server, on 127.0.0.1")
	_ = flags.Parse(os.Args[2:])
	programs := map[string]func(int) error{"server": runServer, "respond": respond, "load": load}
	program, known := programs[os.Args[1]]
	if !known {
		log.Fatalf("unknown program %q", os.Args[1])
	}
	if err := program(*port); err != nil {
		log.Fatal(err)
	}
}

func runServer(port int) error {
	broker, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true})
	if err != nil {
		return err
	}
	broker.Start()
	waitForSignal()
	broker.Shutdown()
	return nil
}

func connect(port int) (*nats.Conn, error) {
	address := fmt.Sprintf("nats://127.0.0.1:%d", port)
	return nats.Connect(address, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
}

func respond(port int) error {
	connection, err := connect(port)
	if err != nil {
		return err
	}
	echo := func(message *nats.Msg) {
		if err := message.Respond(message.Data); err != nil {
			log.Print(err)
		}
	}
	if _, err := connection.Subscribe(subject, echo); err != nil {
		return err
	}
	waitForSignal()
	connection.Close()
	return nil
}

func load(port int) error {
	connection, err := connect(port)
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := waitForResponder(connection); err != nil {
		return err
	}
	return loop.Serve(func(payload []byte) error {
		answer, err := connection.Request(subject, payload, 30*time.Second)
		if err == nil && len(answer.Data) != len(payload) {
			return errors.New("the answer is not what was sent")
		}
		return err
	})
}

func waitForResponder(connection *nats.Conn) error {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err := connection.Request(subject, nil, time.Second); err == nil {
			return nil
		}
	}
	return errors.New("no responder after a minute")
}

func waitForSignal() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	<-signals
}
