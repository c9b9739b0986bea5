// Two daprd sidecars with mTLS around an echo server and a load generator, for `python -m bench.baselines`.
//
// cmd/daprd registers every component there is or panics without its build tags, so this assembles the same runtime
// with the one component that the path needs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	loop "bench/load"

	"github.com/dapr/components-contrib/nameresolution/nameformat"
	nrLoader "github.com/dapr/dapr/pkg/components/nameresolution"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/metrics"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/runtime"
	"github.com/dapr/dapr/pkg/runtime/registry"
	"github.com/dapr/dapr/pkg/security"
	"github.com/dapr/dapr/pkg/sentry"
	"github.com/dapr/dapr/pkg/sentry/config"
	"github.com/dapr/kit/concurrency"
	"github.com/dapr/kit/logger"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const method = "/bench.Direct/Echo"

func main() {
	if len(os.Args) < 2 {
		log.Fatal("say sentry, daprd, serve or load")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	logs := logger.DefaultOptions()
	logs.OutputLevel = "error"
	if err := logger.ApplyOptionsToLoggers(&logs); err != nil {
		log.Fatal(err)
	}
	programs := map[string]func(context.Context, []string) error{
		"sentry": runSentry, "daprd": runDaprd, "serve": serve, "load": load,
	}
	program, known := programs[os.Args[1]]
	if !known {
		log.Fatalf("unknown program %q", os.Args[1])
	}
	if err := program(ctx, os.Args[2:]); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

func runSentry(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("sentry", flag.ExitOnError)
	folder := flags.String("credentials", "", "folder of the certificates, which are made when it is empty")
	configuration := flags.String("config", "", "")
	port := flags.Int("port", 0, "")
	_ = flags.Parse(arguments)
	settings, err := config.FromConfigName(*configuration, string(modes.StandaloneMode))
	if err != nil {
		return err
	}
	settings.IssuerCertPath = filepath.Join(*folder, config.DefaultIssuerCertFilename)
	settings.IssuerKeyPath = filepath.Join(*folder, config.DefaultIssuerKeyFilename)
	settings.RootCertPath = filepath.Join(*folder, config.DefaultRootCertFilename)
	settings.TrustDomain = "localhost"
	settings.Port = *port
	settings.ListenAddress = "127.0.0.1"
	settings.Mode = modes.StandaloneMode
	authority, err := sentry.New(ctx, sentry.Options{Config: settings, Healthz: healthz.New()})
	if err != nil {
		return err
	}
	return authority.Start(ctx)
}

func runDaprd(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("daprd", flag.ExitOnError)
	app := flags.String("app-id", "", "")
	sentryAddress := flags.String("sentry", "", "")
	anchors := flags.String("anchors", "", "file of the root certificate")
	configuration := flags.String("config", "", "")
	httpPort := flags.String("http-port", "", "")
	grpcPort := flags.String("grpc-port", "", "")
	internalPort := flags.String("internal-port", "", "")
	appPort := flags.String("app-port", "", "")
	metricsPort := flags.String("metrics-port", "", "")
	_ = flags.Parse(arguments)
	root, err := os.ReadFile(*anchors)
	if err != nil {
		return err
	}
	health := healthz.New()
	identity, err := security.New(ctx, security.Options{
		SentryAddress:           *sentryAddress,
		ControlPlaneTrustDomain: "localhost",
		ControlPlaneNamespace:   "default",
		TrustAnchors:            root,
		AppID:                   *app,
		MTLSEnabled:             true,
		Mode:                    modes.StandaloneMode,
		Healthz:                 health,
	})
	if err != nil {
		return err
	}
	resolvers := nrLoader.NewRegistry()
	resolvers.Logger = logger.NewLogger("dapr.contrib")
	resolvers.RegisterComponent(nameformat.NewResolver, "nameformat")
	settings := &runtime.Config{
		AppID:                         *app,
		AllowedOrigins:                "*",
		AppProtocol:                   "grpc",
		Mode:                          string(modes.StandaloneMode),
		DaprHTTPPort:                  *httpPort,
		DaprAPIGRPCPort:               *grpcPort,
		DaprInternalGRPCPort:          *internalPort,
		DaprInternalGRPCListenAddress: "127.0.0.1",
		DaprAPIListenAddresses:        "127.0.0.1",
		ApplicationPort:               *appPort,
		ProfilePort:                   "0",
		AppMaxConcurrency:             -1,
		SchedulerStreams:              3,
		EnableMTLS:                    true,
		SentryAddress:                 *sentryAddress,
		MaxRequestSize:                runtime.DefaultMaxRequestBodySize,
		ReadBufferSize:                runtime.DefaultReadBufferSize,
		DaprGracefulShutdownSeconds:   1,
		AppChannelAddress:             runtime.DefaultChannelAddress,
		AppHealthCheckPath:            runtime.DefaultAppHealthCheckPath,
		AppHealthThreshold:            3,
		AppHealthProbeInterval:        5,
		AppHealthProbeTimeout:         500,
		Config:                        []string{*configuration},
		Metrics: metrics.Options{
			Enabled: true, Log: logger.NewLogger("dapr.runtime"), Port: *metricsPort,
			Namespace: metrics.DefaultMetricNamespace, Healthz: health, ListenAddress: "127.0.0.1",
		},
		Registry: registry.NewOptions().WithNameResolutions(resolvers),
		Healthz:  health,
	}
	return concurrency.NewRunnerManager(identity.Run, func(ctx context.Context) error {
		handler, err := identity.Handler(ctx)
		if err != nil {
			return err
		}
		settings.Security = handler
		daprd, err := runtime.FromConfig(ctx, settings)
		if err != nil {
			return err
		}
		return daprd.Run(ctx)
	}).Run(ctx)
}

type echoServer interface{}

func serve(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	port := flags.Int("port", 0, "")
	_ = flags.Parse(arguments)
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	echo := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		message := &wrapperspb.BytesValue{}
		return message, decode(message)
	}
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Direct",
		HandlerType: (*echoServer)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: echo}},
	}, struct{}{})
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	return server.Serve(listener)
}

func load(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	address := flags.String("address", "", "the caller's daprd, or the server itself")
	target := flags.String("app-id", "", "whom to call; empty: no daprd on the way")
	connections := flags.Int("connections", 1, "")
	_ = flags.Parse(arguments)
	if *target != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "dapr-app-id", *target)
	}
	calls := make([]loop.Call, *connections)
	for index := range calls {
		connection, err := grpc.NewClient(*address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer connection.Close()
		calls[index] = echo(ctx, connection)
	}
	return loop.Serve(calls...)
}

func echo(ctx context.Context, connection *grpc.ClientConn) loop.Call {
	return func(payload []byte) error {
		attempt, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		answer := &wrapperspb.BytesValue{}
		if err := connection.Invoke(attempt, method, wrapperspb.Bytes(payload), answer, grpc.WaitForReady(true)); err != nil {
			return err
		}
		if len(answer.GetValue()) != len(payload) {
			return errors.New("the answer is not what was sent")
		}
		return nil
	}
}
