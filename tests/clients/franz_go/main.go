// Checks of a node with franz-go: its producer and consumer (kgo) and its administration (kadm).
//
// Prints `ok NAME` or `FAILED NAME: why` for each check; its arguments are the node's address and, for the
// checks of consumer groups instead of the others, `groups` or, with the server's protocol, `server-side-groups`.
package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A section is a group of checks that need nothing from each other.
type section func(*checks)

var sections = []section{producing, consuming, administering}

// checks knows the node and what failed so far.
type checks struct {
	bootstrap string
	failed    atomic.Bool
}

// check runs one check; a panic or an error fails it, and the others go on.
func (c *checks) check(name string, body func(context.Context) error) {
	c.checkWithin(name, 20*time.Second, body)
}

func (c *checks) checkWithin(name string, within time.Duration, body func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := body(ctx); err != nil {
		c.failed.Store(true)
		fmt.Printf("FAILED %s: %v\n", name, err)
		return
	}
	fmt.Printf("ok %s\n", name)
}

// client is franz-go with its own defaults and what the caller adds.
func (c *checks) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.bootstrap)}, options...)...)
}

func main() {
	c := &checks{bootstrap: os.Args[1]}
	what := append(os.Args[2:], "all")
	switch what[0] {
	case "member":
		stay(c, what[1])
	case "groups":
		grouping(c)
	case "server-side-groups":
		serverSideGrouping(c)
	default:
		for _, section := range sections {
			section(c)
		}
	}
	if c.failed.Load() {
		os.Exit(1)
	}
}
