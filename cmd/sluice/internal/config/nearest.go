package config

import "github.com/sluice-rpc/sluice/internal/typo"

// Nearest returns the candidate that a person most likely meant by word, or "" if none
// is near: at most a third of its letters wrong, and not more than three.
func Nearest(word string, candidates []string) string {
	const longest = 100 // nobody mistypes a hundred letters
	if len(word) > longest {
		return ""
	}
	best, least := "", 4
	for _, c := range candidates {
		if d := typo.Distance(word, c, least); d < least && d <= (max(len(word), len(c))+2)/3 {
			best, least = c, d
		}
	}
	return best
}
