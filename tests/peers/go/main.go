// gRPC Go without a proxy: asks xds:///TARGET at a steady rate, and says what became of it as core.py does.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	_ "google.golang.org/grpc/xds"
)

// raw leaves messages as they are: empty ones.
type raw struct{}

func (raw) Marshal(any) ([]byte, error) { return nil, nil }
func (raw) Unmarshal([]byte, any) error { return nil }
func (raw) Name() string                { return "raw" }

func ask(connection *grpc.ClientConn) {
	sent := time.Now().UnixMilli()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var header metadata.MD
	err := connection.Invoke(ctx, "/stream", nil, nil, grpc.Header(&header), grpc.ForceCodec(raw{}))
	outcome := strings.Join(header.Get("x-lab-version"), "")
	if err != nil {
		outcome = "! " + strings.ReplaceAll(err.Error(), "\n", " ")
	}
	fmt.Printf("%d %d %s\n", sent, time.Now().UnixMilli(), outcome)
}

func main() {
	rate, err := strconv.ParseFloat(os.Args[2], 64)
	if err != nil {
		log.Fatal(err)
	}
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM)
	fmt.Println("gRPC Go", grpc.Version)
	connection, err := grpc.NewClient("xds:///"+os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	connection.Connect()
	for state := connection.GetState(); state != connectivity.Ready; state = connection.GetState() {
		connection.WaitForStateChange(context.Background(), state)
	}
	var underWay sync.WaitGroup
	ticks := time.NewTicker(time.Duration(float64(time.Second) / rate))
	for {
		select {
		case <-ticks.C:
			underWay.Go(func() { ask(connection) })
		case <-stopped:
			underWay.Wait()
			return
		}
	}
}
