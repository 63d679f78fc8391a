// Package interop tests the real binary with grpc-go, grpcurl and Prometheus' statsd_exporter.
//
// No generated code is used: the .proto files are parsed when the tests run, and messages are dynamic.
package interop
