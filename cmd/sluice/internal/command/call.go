package command

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-rpc/sluice/cmd/sluice/internal/call"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/descriptors"
)

// exitStatus and the code of a status are the exit code of a call that failed, as grpcurl has it.
const exitStatus = 64

// callFlags are those of sluice call that need work.
type callFlags struct {
	files          descriptors.Files
	ca, cert, key  string
	insecure       bool
	maxMessage     int
	connectTimeout time.Duration
}

func (a *app) call() *cobra.Command {
	o := call.Options{Out: a.stdout, Err: a.stderr}
	var f callFlags
	cmd := &cobra.Command{
		Use:   "call [flags] URL [METHOD]",
		Short: "Make a call through a gateway, over any carrier",
		Long: "Make a call through a gateway, over any of its carriers. METHOD is package.Service/Method;\n" +
			"without it the methods are listed. Messages are JSON, one after the other: those of the\n" +
			"standard input are sent as they come, and those of the server are printed as they come, one\n" +
			"a line. The end of the input is the half-close.\n\n" +
			"The exit code is 0 if the call ended with OK, 64 and the number of the status if with another\n" +
			"one, 1 if there was no call, and 2 for a mistake in what was asked for.",
		Example: "  sluice call http://localhost:8080\n" +
			"  sluice call -d '{\"text\": \"hello\"}' http://localhost:8080 sluice.demo.v1.Demo/Echo\n" +
			"  sluice call --over webtransport --cut-every 5s --show-frames https://gateway.example.com sluice.demo.v1.Demo/Chat",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usagef("give the URL of a gateway and a method: `sluice call http://localhost:8080 package.Service/Method`")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.URL = args[0]
			if len(args) > 1 {
				o.Method = args[1]
			}
			o.Input = cmd.InOrStdin()
			o.Person = terminal(o.Input)
			return a.runCall(o, f)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringSliceVar(&o.Over, "over", nil, "`CARRIER`, or several that are tried in turn: "+strings.Join(call.Names(), ", ")+" (default websocket)")
	fs.StringArrayVarP(&o.Headers, "header", "H", nil, "metadata as '`NAME: VALUE`'; base64 for names that end in -bin (repeatable)")
	fs.StringVarP(&o.Data, "data", "d", "", "`JSON` messages to send instead of the standard input")
	fs.StringArrayVar(&f.files.Schema, "schema", nil, "the services, as .proto, descriptor set or buf image `FILE` (repeatable); by default the server is asked by reflection")
	fs.StringArrayVar(&f.files.ProtoPaths, "proto-path", nil, "`DIR` where .proto files and their imports are looked for (repeatable)")
	fs.DurationVar(&o.Timeout, "timeout", 0, "`TIME` after which the call ends with DEADLINE_EXCEEDED")
	fs.DurationVar(&f.connectTimeout, "connect-timeout", 10*time.Second, "`TIME` for each attempt to connect")
	fs.StringVar(&f.ca, "ca", "", "certificate authorities `FILE` (PEM); the system's by default")
	fs.StringVar(&f.cert, "cert", "", "client certificate `FILE` (PEM)")
	fs.StringVar(&f.key, "key", "", "its private key `FILE` (PEM)")
	fs.BoolVar(&f.insecure, "insecure", false, "take any certificate")
	fs.StringVar(&o.Compress, "compress", "", "`ENCODING` of messages that are sent: gzip")
	fs.IntVar(&f.maxMessage, "max-message", 4<<20, "`BYTES` of a message that is received")
	fs.StringVar(&o.Resume, "resume", "", "calls that go on after a lost connection: streams, all or none (default streams; all with --cut-every)")
	fs.BoolVar(&o.Lossy, "lossy", false, "messages may be lost: over webtransport they go in datagrams, once the gateway has agreed")
	fs.BoolVarP(&o.Verbose, "verbose", "v", false, "print metadata to the standard error")
	fs.BoolVar(&o.ShowFrames, "show-frames", false, "print the frames of the protocol to the standard error")
	fs.DurationVar(&o.CutEvery, "cut-every", 0, "cut the own connection every `TIME`, to see the call go on; several carriers take turns")
	return cmd
}

// terminal says whether a person sits at the standard input.
func terminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (a *app) runCall(o call.Options, f callFlags) error {
	var err error
	if o.Config.TLS, err = f.tls(); err != nil {
		return err
	}
	if f.maxMessage <= 0 {
		return usagef("--max-message is a number of bytes above 0")
	}
	o.Config.MaxReceive, o.Config.DialTimeout = f.maxMessage, f.connectTimeout
	if o.Compress != "" && o.Compress != "gzip" {
		return usagef("--compress %s: there is gzip", o.Compress)
	}
	if len(f.files.Schema) > 0 {
		if o.Sets, _, err = f.files.Load(); err != nil {
			return usageError{err}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() { // ends with the command
		select {
		case <-a.signals:
			cancel()
		case <-stop:
		}
	}()
	err = call.Run(ctx, o)
	if bad, ok := errors.AsType[call.Usage](err); ok {
		return usageError{bad}
	}
	return err
}

// tls makes the configuration.
func (f *callFlags) tls() (*tls.Config, error) {
	cfg := &tls.Config{InsecureSkipVerify: f.insecure} //nolint:gosec // it was asked for
	if f.ca != "" {
		pem, err := os.ReadFile(filepath.Clean(f.ca))
		if err != nil {
			return nil, usagef("--ca: %w", err)
		}
		if cfg.RootCAs = x509.NewCertPool(); !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef("--ca %s: there is no certificate in it", f.ca)
		}
	}
	if (f.cert == "") != (f.key == "") {
		return nil, usagef("--cert and --key belong together")
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, usageError{fmt.Errorf("--cert: %w", err)}
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
