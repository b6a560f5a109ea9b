package command

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/devtls"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/trust"
)

func (a *app) trust() *cobra.Command {
	var uninstall, show bool
	cmd := &cobra.Command{
		Use:   "trust [flags]",
		Short: "Make this machine trust the authority of --tls-dev",
		Long: "Make this machine trust the authority that signs the certificates of --tls-dev: the system,\n" +
			"and browsers that have a database of their own. What needs more rights than this user has, or a\n" +
			"program that is missing, is printed as commands, and the exit code is 1.",
		Example: "  sluice trust\n  NODE_EXTRA_CA_CERTS=$(sluice trust --print) node client.js",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if uninstall && show {
				return usagef("--uninstall and --print: give one of them")
			}
			c, _, err := a.load(cmd.Flags(), nil)
			if err != nil {
				return err
			}
			return a.runTrust(c, uninstall, show)
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&uninstall, "uninstall", false, "undo it")
	cmd.Flags().BoolVar(&show, "print", false, "print the file with the authority, for programs that are told by hand, and change nothing")
	cmd.Flags().StringP("config", "", "", configHelp)
	config.AddDevFlags(cmd.Flags())
	return cmd
}

func (a *app) runTrust(c *config.Config, uninstall, show bool) error {
	authority, err := a.authority(c, !uninstall)
	switch {
	case err != nil:
		return err
	case authority == nil:
		fmt.Fprintln(a.stdout, "there is no authority that could be trusted: nothing to do")
		return nil
	case show:
		fmt.Fprintln(a.stdout, authority.File)
		return nil
	}
	machine := &trust.Machine{System: runtime.GOOS, Root: "/", Find: exec.LookPath, Run: runProgram}
	if machine.Home, err = os.UserHomeDir(); err != nil {
		machine.Home = "" // then there are no browsers of the user
	}
	do, done := trust.Install, "trusts it"
	if uninstall {
		do, done = trust.Uninstall, "does not trust it any more"
	}
	fmt.Fprintln(a.stdout, authority.File)
	return a.told(do(machine, authority), done)
}

// authority is the one that is kept. With make it is made if there is none.
func (a *app) authority(c *config.Config, make bool) (*trust.Authority, error) {
	dir, err := devDir(c)
	if err != nil {
		return nil, err
	}
	if !make {
		file, cert, err := devtls.Kept(dir)
		if err != nil || cert == nil {
			return nil, err
		}
		return &trust.Authority{Cert: cert, File: file}, nil
	}
	d, err := devtls.Open(devtls.Options{Dir: dir, Names: c.TLS.DevNames, Log: slog.New(slog.NewTextHandler(a.stderr, nil))})
	if err != nil {
		return nil, err
	}
	return &trust.Authority{Cert: d.Authority(), File: d.AuthorityFile()}, nil
}

// told prints what came of it.
func (a *app) told(results []trust.Result, done string) error {
	left := 0
	for _, r := range results {
		switch r.State {
		case trust.Done:
			fmt.Fprintf(a.stdout, "  %s %s\n", r.Store, done)
		case trust.Already:
			fmt.Fprintf(a.stdout, "  %s: nothing to do\n", r.Store)
		case trust.Todo:
			left++
			why := ""
			if r.Why != nil {
				why = r.Why.Error() + "; "
			}
			fmt.Fprintf(a.stdout, "  %s: %srun\n", r.Store, why)
			for _, do := range r.Do {
				fmt.Fprintf(a.stdout, "    %s\n", do)
			}
		}
	}
	switch {
	case len(results) == 0:
		return fmt.Errorf("no store was found: tell programs of the file, as `curl --cacert`, NODE_EXTRA_CA_CERTS or SSL_CERT_FILE do")
	case left > 0:
		return fmt.Errorf("some of it is left to do by hand")
	}
	return nil
}

// runProgram runs a program on behalf of trust.
func runProgram(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = os.Stdin // some ask for a password
	out, err := cmd.CombinedOutput()
	if err != nil {
		if text := strings.TrimSpace(string(out)); text != "" {
			err = fmt.Errorf("%s: %s", name, text)
		}
		return string(out), err
	}
	return string(out), nil
}
