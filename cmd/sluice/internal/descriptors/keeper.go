package descriptors

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// poll is how often files are looked at. A change counts when it is the same at the
// next look: a set that is half written may well be a whole one with less in it.
const poll = time.Second

// A Keeper knows which files a schema was read from, and sees when they change.
type Keeper struct {
	files Files
	sets  [][]byte
	log   *slog.Logger

	watched []string // all that were looked at
	loaded  string   // their state when they were read
	last    string   // their state at the last look
}

// Keep loads files. Watch has to be called for changes to be seen.
func Keep(f Files, log *slog.Logger) (*Keeper, error) {
	k := &Keeper{files: f, log: log}
	sets, err := k.load()
	if err != nil {
		return nil, err
	}
	k.sets = sets
	return k, nil
}

// Sets are what Keep has loaded.
func (k *Keeper) Sets() [][]byte { return k.sets }

// Watch looks for changes until ctx ends, and gives what it finds to use. If use says
// that it is no good, it is not tried again before the next change.
func (k *Keeper) Watch(ctx context.Context, use func(sets ...[]byte) error) {
	if len(k.files.Schema) == 0 {
		return
	}
	t := time.NewTicker(poll)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			k.look(use)
		}
	}
}

func (k *Keeper) look(use func(sets ...[]byte) error) {
	now := state(k.watched)
	settled := now == k.last
	k.last = now
	if now == k.loaded || !settled {
		return
	}
	sets, err := k.load()
	if err == nil {
		err = use(sets...)
	}
	if err != nil {
		k.log.Warn("changed schema not usable, the old one stays", "error", err)
		return
	}
	k.log.Info("schema changed", "files", strings.Join(k.files.Schema, " "))
}

// load reads the files, and notes which there are and how they were.
func (k *Keeper) load() ([][]byte, error) {
	sets, seen, err := k.files.Load()
	if err != nil {
		for _, name := range k.watched { // a mistake may hide imports
			if _, ok := seen[name]; !ok {
				seen[name] = stamp(name)
			}
		}
	}
	k.watched = slices.Sorted(maps.Keys(seen))
	var b strings.Builder
	for _, name := range k.watched {
		b.WriteString(seen[name])
	}
	k.loaded = b.String()
	return sets, err
}

func state(files []string) string {
	var b strings.Builder
	for _, name := range files {
		b.WriteString(stamp(name))
	}
	return b.String()
}

// stamp tells a changed file from an unchanged one without reading it.
func stamp(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return "-;"
	}
	return fmt.Sprintf("%d,%d;", info.ModTime().UnixNano(), info.Size())
}
