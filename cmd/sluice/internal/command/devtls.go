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
