package interop

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	orcadata "github.com/cncf/xds/go/xds/data/orca/v3"
	openrca "github.com/cncf/xds/go/xds/service/orca/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/grpclog"
	interoptest "google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/orca"
)

// failures turns the log.Fatal of grpc-go's test cases into a panic, which fails one case only.
type failures struct{ grpclog.LoggerV2 }

func (failures) Fatal(arguments ...any)                 { panic(fmt.Sprint(arguments...)) }
func (failures) Fatalln(arguments ...any)               { panic(fmt.Sprintln(arguments...)) }
func (failures) Fatalf(format string, arguments ...any) { panic(fmt.Sprintf(format, arguments...)) }

func init() {
	grpclog.SetLoggerV2(failures{grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)})
}

// interopCases are those of grpc-go's interop client that need no credentials, by their names there.
var interopCases = map[string]func(context.Context, *grpc.ClientConn, testgrpc.TestServiceClient){
	"empty_unary":                 plain(interoptest.DoEmptyUnaryCall),
	"large_unary":                 plain(interoptest.DoLargeUnaryCall),
	"client_streaming":            plain(interoptest.DoClientStreaming),
	"server_streaming":            plain(interoptest.DoServerStreaming),
	"ping_pong":                   plain(interoptest.DoPingPong),
	"empty_stream":                plain(interoptest.DoEmptyStream),
	"timeout_on_sleeping_server":  plain(interoptest.DoTimeoutOnSleepingServer),
	"cancel_after_begin":          plain(interoptest.DoCancelAfterBegin),
	"cancel_after_first_response": plain(interoptest.DoCancelAfterFirstResponse),
	"status_code_and_message":     plain(interoptest.DoStatusCodeAndMessage),
	"special_status_message":      plain(interoptest.DoSpecialStatusMessage),
	"custom_metadata":             plain(interoptest.DoCustomMetadata),
	"unimplemented_method": func(ctx context.Context, conn *grpc.ClientConn, _ testgrpc.TestServiceClient) {
		interoptest.DoUnimplementedMethod(ctx, conn)
	},
	"unimplemented_service": func(ctx context.Context, conn *grpc.ClientConn, _ testgrpc.TestServiceClient) {
		interoptest.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(conn))
	},
	"pick_first_unary": func(ctx context.Context, _ *grpc.ClientConn, client testgrpc.TestServiceClient) {
		interoptest.DoPickFirstUnary(ctx, client)
	},
	"orca_per_rpc": func(ctx context.Context, _ *grpc.ClientConn, client testgrpc.TestServiceClient) {
		interoptest.DoORCAPerRPCTest(ctx, client)
	},
	"orca_oob": func(ctx context.Context, _ *grpc.ClientConn, client testgrpc.TestServiceClient) {
		interoptest.DoORCAOOBTest(ctx, client)
	},
}

type plainCase = func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)

func plain(run plainCase) func(context.Context, *grpc.ClientConn, testgrpc.TestServiceClient) {
	return func(ctx context.Context, _ *grpc.ClientConn, client testgrpc.TestServiceClient) { run(ctx, client) }
}

// serveInterop starts grpc-go's interop server, as its main does.
func serveInterop(t *testing.T) *upstream {
	t.Helper()
	metrics := orca.NewServerMetricsRecorder()
	service := interoptest.NewTestServer(interoptest.NewTestServerOptions{MetricsRecorder: metrics})
	server := newServer(named{service}, orca.CallMetricsServerOption(nil))
	openrca.RegisterOpenRcaServiceServer(server, reporter{source: metrics})
	u := listen(t, "127.0.0.1:0")
	u.start(t, server)
	return u
}

// named fills in a server id, which pick_first_unary expects and grpc-go's server leaves out.
type named struct{ testgrpc.TestServiceServer }

func (n named) UnaryCall(ctx context.Context, request *unaryRequest) (*unaryResponse, error) {
	response, err := n.TestServiceServer.UnaryCall(ctx, request)
	if err == nil && request.GetFillServerId() {
		response.ServerId = "upstream"
	}
	return response, err
}

// reporter reports metrics out of band, more often than the 30 s that grpc-go's own service allows outside
// of its own tests.
type reporter struct {
	openrca.UnimplementedOpenRcaServiceServer
	source orca.ServerMetricsProvider
}

func (r reporter) StreamCoreMetrics(
	_ *openrca.OrcaLoadReportRequest, stream openrca.OpenRcaService_StreamCoreMetricsServer,
) error {
	for {
		metrics := r.source.ServerMetrics()
		report := &orcadata.OrcaLoadReport{
			CpuUtilization: max(0, metrics.CPUUtilization),
			MemUtilization: max(0, metrics.MemUtilization),
			Utilization:    metrics.Utilization,
		}
		if err := stream.Send(report); err != nil {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-stream.Context().Done():
			return nil
		}
	}
}

func TestInteropCases(t *testing.T) {
	upstream := serveInterop(t)
	t.Run("plain", func(t *testing.T) {
		runInteropCases(t, relay(t, upstream), grpc.WithTransportCredentials(insecure.NewCredentials()))
	})
	t.Run("TLS and token", func(t *testing.T) {
		skipDirect(t)
		access, roots := newAccess(t)
		runInteropCases(t, relay(t, upstream, access.options()...),
			grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(roots, "localhost")),
			grpc.WithPerRPCCredentials(bearer(token)))
	})
}

func runInteropCases(t *testing.T, s *sidecar, options ...grpc.DialOption) {
	options = append(options, grpc.WithDefaultServiceConfig(
		`{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}`))
	conn := s.connect(options...)
	client := testgrpc.NewTestServiceClient(conn)
	for name, run := range interopCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runCase(t, func(ctx context.Context) { run(ctx, conn, client) })
		})
	}
	t.Run("rpc_soak", func(t *testing.T) {
		t.Parallel()
		soak(t, s.target, func() (*grpc.ClientConn, func()) { return conn, func() {} })
	})
	t.Run("channel_soak", func(t *testing.T) {
		t.Parallel()
		soak(t, s.target, func() (*grpc.ClientConn, func()) {
			conn := s.connect(options...)
			return conn, func() { _ = conn.Close() }
		})
	})
}

func soak(t *testing.T, target string, channel func() (*grpc.ClientConn, func())) {
	runCase(t, func(ctx context.Context) {
		interoptest.DoSoakTest(ctx, interoptest.SoakTestConfig{
			RequestSize:                      271828,
			ResponseSize:                     314159,
			PerIterationMaxAcceptableLatency: patience,
			OverallTimeout:                   patience,
			ServerAddr:                       target,
			NumWorkers:                       2,
			Iterations:                       20,
			ChannelForTest:                   channel,
		})
	})
}

// runCase runs one of grpc-go's cases, which log a fatal error if they fail.
func runCase(t *testing.T, run func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer func() {
		if failure := recover(); failure != nil {
			t.Error(failure)
		}
	}()
	run(ctx)
}
