package command

import (
	"errors"
	"fmt"
	"os"

	"github.com/sluice-rpc/sluice"
	"github.com/sluice-rpc/sluice/cmd/sluice/internal/config"
	"github.com/sluice-rpc/sluice/internal/schema"
)

// readRules reads the files with HTTP rules, and looks whether they are some: `sluice
// check` has no gateway that would say so.
func readRules(c *config.REST) (sluice.REST, error) {
	rest := c.Library()
	for _, name := range c.HTTPRules {
		b, err := os.ReadFile(name)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return rest, fmt.Errorf("HTTP rules %s: there is no such file", name)
		case err != nil:
			return rest, fmt.Errorf("HTTP rules %s: %w", name, errors.Unwrap(err))
		}
		if _, err := schema.ReadHTTPRules(name, b); err != nil {
			return rest, fmt.Errorf("HTTP rules %w", err)
		}
		rest.HTTPRules = append(rest.HTTPRules, sluice.HTTPRulesFile{Name: name, Data: b})
	}
	return rest, nil
}
