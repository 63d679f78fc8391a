// Package interop tests the real binary with grpc-go and grpcurl.
//
// There is no generated code: the .proto files are parsed when the tests run, and messages are dynamic.
package interop
