package schema

import (
	"fmt"

	"github.com/sluice-rpc/sluice/internal/typo"
)

// didYouMean names the candidate that word was most likely to be, if one is near.
func didYouMean(word string, candidates []string) string {
	const longest = 200
	if len(word) > longest {
		return ""
	}
	best, least := "", max(2, len(word)/3)+1
	for _, c := range candidates {
		if d := typo.Distance(word, c, least); d < least {
			best, least = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", best)
}
