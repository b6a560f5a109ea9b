// Package command is the command line: serve, demo, check, routes, openapi, call, trust and version. It turns a
// config.Config into a running gateway with its listeners, its admin server and its
// end, and tells people in words what is going on and what to do.
//
// A mistake in what was asked for ends with exit code 2, a failure of the world with
// 1; both with one message on standard error.
package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-rpc/sluice/cmd/sluice/internal/call"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
)

const (
	exitFailure = 1
	exitUsage   = 2
)

// app is one run of the command.
type app struct {
	environ        []string
	stdout, stderr io.Writer
	signals        chan os.Signal
}

// A usageError is a mistake in flags, variables or the file.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Main runs the command and returns its exit code.
func Main(args, environ []string, stdout, stderr io.Writer) int {
	a := &app{environ: environ, stdout: stdout, stderr: stderr, signals: make(chan os.Signal, 2)}
	signal.Notify(a.signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(a.signals)
	return a.main(args)
}

func (a *app) main(args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.Execute()
	if err == nil {
		return 0
	}
	if failed, ok := errors.AsType[call.Failed](err); ok {
		return exitStatus + int(failed.Code) // it was printed
	}
	fmt.Fprintln(a.stderr, "sluice: "+err.Error())
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "A gateway for gRPC, gRPC-Web and Connect clients in front of any gRPC server",
		Long: "Sluice puts gRPC, gRPC-Web and Connect clients in front of any gRPC server, in all four\n" +
			"kinds of call. To begin: sluice demo, or sluice serve localhost:50051",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(a.serve(), a.demo(), a.check(), a.routes(), a.openapi(), a.call(), a.trust(), a.version(), a.grpcwebproxy())
	root.SetFlagErrorFunc(flagError)
	return root
}

func unknownCommand(root *cobra.Command, word string) error {
	if strings.ContainsAny(word, ":/.") {
		return usagef("unknown command %q: to stand in front of a server write `sluice serve %s`", word, word)
	}
	var names []string
	for _, c := range root.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	if near := config.Nearest(word, names); near != "" {
		return usagef("unknown command %q: did you mean `sluice %s`?", word, near)
	}
	return usagef("unknown command %q: there are serve, demo, check, routes, openapi, call, trust, grpcwebproxy and version", word)
}

// flagError says which flag was most likely meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		var invalid *pflag.InvalidValueError
		if errors.As(err, &invalid) {
			return usagef("--%s: %w", invalid.GetFlag().Name, invalid.Unwrap())
		}
		return usagef("%w: see `%s --help`", err, cmd.CommandPath())
	}
	name := unknown.GetSpecifiedName()
	if short := unknown.GetSpecifiedShortnames(); short != "" {
		name = short
		if f := cmd.Flags().Lookup(short); f != nil {
			return usagef("unknown flag -%s: write --%s", short, short)
		}
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := config.Nearest(name, names); near != "" {
		return usagef("unknown flag --%s: did you mean --%s?", name, near)
	}
	if s := settingNamed(name); s != "" {
		return usagef("there is no flag --%s: set %s in the file of --config, or the variable %s", name, s,
			config.EnvPrefix+strings.ToUpper(strings.ReplaceAll(s, ".", "_")))
	}
	return usagef("unknown flag --%s: see `%s --help`", name, cmd.CommandPath())
}

// settingNamed returns the key of a setting that has no flag, if name is its last part
// or the whole of it.
func settingNamed(name string) string {
	name = strings.ReplaceAll(name, "-", "_")
	for _, s := range config.New().Settings() {
		whole := strings.ReplaceAll(s.Key, ".", "_")
		if s.Flag == "" && s.Key != "backends" && (whole == name || strings.HasSuffix(whole, "_"+name)) {
			return s.Key
		}
	}
	return ""
}
