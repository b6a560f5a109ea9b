package command

import (
	"log/slog"
	"os"
	"runtime"

	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/devtls"
)

// devTLS makes the certificates of --tls-dev.
func devTLS(c *config.Config, log *slog.Logger) (*devtls.TLS, error) {
	dir, err := devDir(c)
	switch {
	case !c.TLS.Temporary:
	case err != nil || !kept(dir):
		dir, err = "", nil
	}
	if err != nil {
		return nil, err
	}
	return devtls.Open(devtls.Options{Dir: dir, Names: c.TLS.DevNames, Log: log})
}

// devDir is where they are kept.
func devDir(c *config.Config) (string, error) {
	if c.TLS.DevDir != "" {
		return c.TLS.DevDir, nil
	}
	return devtls.DefaultDir(runtime.GOOS, os.Getenv)
}

// kept says whether there is an authority in a directory.
func kept(dir string) bool {
	_, authority, err := devtls.Kept(dir)
	return err == nil && authority != nil
}
