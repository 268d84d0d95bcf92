package rpc

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"session-manager/shared/rpc/workerpb"
)

// ProtocolVersion is raised by every change of the contract that an older
// binary would misread. A worker of another version is refused at the handshake.
const ProtocolVersion = 5

// pluginName is the name under which the worker is dispensed.
const pluginName = "worker"

// Handshake keeps a worker from being run by hand. The cookie is not a secret.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion:  ProtocolVersion,
		MagicCookieKey:   "SESSION_MANAGER_PLUGIN_COOKIE",
		MagicCookieValue: "6f0b7a52-worker",
	}
}

// StartedAsWorker reports whether the supervisor runs this process as its worker.
func StartedAsWorker() bool {
	handshake := Handshake()
	return os.Getenv(handshake.MagicCookieKey) == handshake.MagicCookieValue
}

// Keepalive times. The server must allow what the client does: its default
// minimum is five minutes, and it ends the connection of a client that pings
// more often. The timeout is long: that a worker is hung is found out by its silence, and one that
// gets no processor for a while is not.
const (
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Minute
)

// silent keeps go-plugin from logging: it reports what its callers know better. It must
// be a logger of level Off, because with others go-plugin v1.8.0 parses the worker's
// stderr, where a line such as {"@message":5} would make it panic.
func silent() hclog.Logger { return hclog.New(&hclog.LoggerOptions{Level: hclog.Off}) }

// ClientConfig returns what all of a worker's go-plugin clients have in common, but for
// their keys, which Secure makes. Its dial options bound every call on a connection whose
// other end has frozen, even one without a deadline.
func ClientConfig() *plugin.ClientConfig {
	return &plugin.ClientConfig{
		HandshakeConfig:  Handshake(),
		Plugins:          plugin.PluginSet{pluginName: &glue{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           silent(),
		GRPCDialOptions: append(dialBounds(), grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true,
		})),
	}
}

// Conns are the connections of a go-plugin client. go-plugin v1.8.0 forgets one on which its first call fails
// (newGRPCClient), and gRPC tries for ever to connect it again. The zero value is ready, and safe for concurrent use.
type Conns struct {
	mu  sync.Mutex
	all []*grpc.ClientConn // guarded by mu
}

// Option makes a client note its connections.
func (c *Conns) Option() grpc.DialOption {
	return grpc.WithChainStreamInterceptor(func(
		ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, call grpc.Streamer, opts ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		c.mu.Lock()
		if !slices.Contains(c.all, conn) {
			c.all = append(c.all, conn)
		}
		c.mu.Unlock()
		return call(ctx, desc, conn, method, opts...)
	})
}

// Close closes those that are open still.
func (c *Conns) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.all {
		_ = conn.Close() // the only error is that it is closed
	}
}

// Connect starts the worker's process and returns the worker in it. It has no context,
// since go-plugin takes none: the end of the process ends it.
func Connect(client *plugin.Client) (*Client, error) {
	protocol, err := client.Client()
	if err != nil {
		return nil, err
	}
	return dispense(protocol)
}

func dispense(p plugin.ClientProtocol) (*Client, error) {
	raw, err := p.Dispense(pluginName)
	if err != nil {
		return nil, fmt.Errorf("cannot dispense worker: %w", err)
	}
	c, ok := raw.(*Client)
	if !ok {
		return nil, fmt.Errorf("internal error: dispensed a %T", raw)
	}
	return c, nil
}

// Serve runs w as this process's plugin server until the supervisor ends it. It
// does not return before that. go-plugin replaces os.Stdout and os.Stderr.
func Serve(w Worker) {
	plugin.Serve(&plugin.ServeConfig{
		Logger:          silent(),
		HandshakeConfig: Handshake(),
		Plugins:         plugin.PluginSet{pluginName: &glue{worker: w}},
		TLSProvider:     serverTLS,
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window), grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
				MinTime: keepaliveTime / 2, PermitWithoutStream: true,
			}))...)
		},
	})
}

// glue is go-plugin's end of both sides; worker is nil on the supervisor's.
type glue struct {
	plugin.NetRPCUnsupportedPlugin
	worker Worker
}

var _ plugin.GRPCPlugin = (*glue)(nil)

// GRPCServer implements plugin.GRPCPlugin.
func (g *glue) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	workerpb.RegisterWorkerServer(s, &server{worker: g.worker})
	return nil
}

// GRPCClient implements plugin.GRPCPlugin.
func (g *glue) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return &Client{worker: workerpb.NewWorkerClient(conn)}, nil
}
