package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"connectrpc.com/connect"

	pb "github.com/sluice-rpc/sluice/examples/clients/demopb"
	"github.com/sluice-rpc/sluice/examples/clients/demopb/demopbconnect"
)

// echo is unary.
func echo(ctx context.Context, client demopbconnect.DemoClient) error {
	r, err := client.Echo(ctx, connect.NewRequest(&pb.EchoRequest{Text: "hello"}))
	if err != nil {
		return err
	}
	fmt.Printf("echo    %s\n", r.Msg.GetText())
	return nil
}

// ticker streams from the server.
func ticker(ctx context.Context, client demopbconnect.DemoClient) error {
	stream, err := client.Ticker(ctx, connect.NewRequest(&pb.TickerRequest{Count: 3}))
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		fmt.Printf("ticker  tick %d\n", stream.Msg().GetNumber())
	}
	return stream.Err()
}

// sum streams from the client.
func sum(ctx context.Context, client demopbconnect.DemoClient) error {
	stream := client.Sum(ctx)
	for _, n := range []int64{40, 1, 1} {
		if err := stream.Send(&pb.SumRequest{Number: n}); err != nil {
			return err
		}
	}
	r, err := stream.CloseAndReceive()
	if err != nil {
		return err
	}
	fmt.Printf("sum     %d of %d numbers\n", r.Msg.GetSum(), r.Msg.GetCount())
	return nil
}

// chat streams both ways at once: each answer comes before the next message is sent.
func chat(ctx context.Context, client demopbconnect.DemoClient) error {
	stream := client.Chat(ctx)
	defer stream.CloseResponse()
	for _, text := range []string{"one", "two"} {
		if err := stream.Send(&pb.ChatRequest{Text: text}); err != nil {
			return err
		}
		r, err := stream.Receive()
		if err != nil {
			return err
		}
		fmt.Printf("chat    %s -> %s\n", text, r.GetText())
	}
	if err := stream.CloseRequest(); err != nil {
		return err
	}
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the stream did not end: %w", err)
	}
	return nil
}
