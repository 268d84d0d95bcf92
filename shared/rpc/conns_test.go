package rpc

import (
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
)

// TestForgottenConnectionIsClosed has a call fail on a connection that its owner then forgets.
func TestForgottenConnectionIsClosed(t *testing.T) {
	var conns Conns
	conn, err := grpc.NewClient("unix:"+filepath.Join(t.TempDir(), "none"), grpc.WithTransportCredentials(insecure.NewCredentials()), conns.Option())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := conn.NewStream(t.Context(), &grpc.StreamDesc{}, "/none"); err == nil {
			t.Fatal("a call has an answer")
		}
	}
	conns.Close()
	if got := conn.GetState(); got != connectivity.Shutdown {
		t.Errorf("the connection is %s", got)
	}
	conns.Close()
}
