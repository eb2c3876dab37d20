package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// groupCheck has a group of its own on a topic of its own, so that all run side by side.
type groupCheck struct {
	name    string
	options []kgo.Opt
	body    func(context.Context, *group) error
}

func grouping(c *checks) {
	eager := []kgo.Opt{kgo.Balancers(kgo.RangeBalancer())}
	cooperating := []kgo.Opt{kgo.Balancers(kgo.CooperativeStickyBalancer())}
	c.sideBySide(false, []groupCheck{
		{"alone-and-resumed", eager, aloneAndResumed},
		{"shared", eager, sharing},
		{"crashed", eager, crashed},
		{"static-member", eager, staticMember},
		{"fenced", eager, fenced},
		{"committed", eager, committed},
		{"administered", eager, administeringGroups},
		{"cooperative", cooperating, cooperative},
		{"cooperative-shared", cooperating, sharing},
	})
}

// serverSideGrouping leaves static members out: franz-go 1.22.3 leaves as one without its name, which is refused.
func serverSideGrouping(c *checks) {
	server := []kgo.Opt{kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer())}
	c.sideBySide(true, []groupCheck{
		{"server-side-alone-and-resumed", server, aloneAndResumed},
		{"server-side-shared", server, sharing},
		{"server-side-cooperative", server, cooperative},
	})
}

func (c *checks) sideBySide(server bool, all []groupCheck) {
	var running sync.WaitGroup
	slots := make(chan struct{}, 4)
	for _, each := range all {
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			c.checkWithin("group-"+each.name, 45*time.Second, func(ctx context.Context) error {
				g := &group{c: c, name: each.name, server: server, options: each.options, owners: map[int32]*member{}}
				return g.run(ctx, each.body)
			})
		})
	}
	running.Wait()
}

// run creates the topic, waits until the node knows it, and gives the check an admin client.
func (g *group) run(ctx context.Context, body func(context.Context, *group) error) error {
	client, err := g.c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	g.admin = kadm.NewClient(client)
	if _, err := g.admin.CreateTopic(ctx, partitions, 1, nil, g.name); err != nil {
		return err
	}
	known := func() bool {
		listed, err := g.admin.ListTopics(ctx, g.name)
		return err == nil && len(listed[g.name].Partitions) == partitions
	}
	if err := eventually(ctx, "its topic is known", known); err != nil {
		return err
	}
	return body(ctx, g)
}

// members counts the members that the coordinator knows.
func (g *group) members(ctx context.Context) (int, error) {
	if g.server {
		described, err := g.admin.DescribeConsumerGroups(ctx, g.name)
		return len(described[g.name].Members), errors.Join(err, described[g.name].Err)
	}
	described, err := g.admin.DescribeGroups(ctx, g.name)
	return len(described[g.name].Members), errors.Join(err, described[g.name].Err)
}

func (g *group) hasMembers(ctx context.Context, want int) error {
	got, err := g.members(ctx)
	if err != nil {
		return err
	}
	return equal("members", got, want)
}

// joined adds members that then share all partitions.
func (g *group) joined(ctx context.Context, more ...[]kgo.Opt) ([]*member, error) {
	var all []*member
	for _, options := range more {
		m, err := g.join(options...)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
		if err := g.settled(ctx, fmt.Sprintf("%d members share", len(all)), all...); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func aloneAndResumed(ctx context.Context, g *group) error {
	if err := g.produce(ctx, 10); err != nil {
		return err
	}
	first, err := g.joined(ctx, nil)
	if err != nil {
		return err
	}
	if err := g.reads(ctx, 0, 10, first...); err != nil {
		return err
	}
	if err := first[0].client.CommitUncommittedOffsets(ctx); err != nil {
		return err
	}
	first[0].close()
	if err := g.hasMembers(ctx, 0); err != nil {
		return err
	}
	if err := g.produce(ctx, 2); err != nil {
		return err
	}
	second, err := g.joined(ctx, nil)
	if err != nil {
		return err
	}
	defer second[0].close()
	return g.reads(ctx, 10, 12, second...)
}

func sharing(ctx context.Context, g *group) error {
	all, err := g.joined(ctx, nil, nil, nil)
	if err != nil {
		return err
	}
	if err := g.hasMembers(ctx, 3); err != nil {
		return err
	}
	if err := g.produce(ctx, 10); err != nil {
		return err
	}
	if err := g.reads(ctx, 0, 10, all...); err != nil {
		return err
	}
	for _, m := range all {
		if err := m.client.CommitUncommittedOffsets(ctx); err != nil {
			return err
		}
	}
	all[1].close()
	defer all[0].close()
	defer all[2].close()
	return g.settled(ctx, "the others take over", all[0], all[2])
}

func crashed(ctx context.Context, g *group) error {
	all, err := g.joined(ctx, nil)
	if err != nil {
		return err
	}
	survivor := all[0]
	defer survivor.close()
	other := exec.Command(os.Args[0], g.c.bootstrap, "member", g.name)
	other.Stderr = os.Stderr
	// Its input ends with this program, and so does it.
	if _, err := other.StdinPipe(); err != nil {
		return err
	}
	if err := other.Start(); err != nil {
		return err
	}
	half := func() bool { return len(survivor.owns()) == partitions/2 }
	waited := eventually(ctx, "the other has its half", half, survivor)
	if waited == nil {
		waited = g.hasMembers(ctx, 2)
	}
	if err := other.Process.Kill(); err != nil {
		return err
	}
	_ = other.Wait() // it tells that it was killed
	if waited != nil {
		return waited
	}
	if err := g.settled(ctx, "the other is replaced", survivor); err != nil {
		return err
	}
	if err := g.produce(ctx, 1); err != nil {
		return err
	}
	return g.reads(ctx, 0, 1, survivor)
}

// stay is a member until its input ends.
func stay(c *checks, name string) {
	g := &group{c: c, name: name, options: []kgo.Opt{kgo.Balancers(kgo.RangeBalancer())}, owners: map[int32]*member{}}
	if _, err := g.join(); err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func instance(name string) []kgo.Opt {
	return []kgo.Opt{kgo.InstanceID(name)}
}

func staticMember(ctx context.Context, g *group) error {
	all, err := g.joined(ctx, instance("one"), instance("two"))
	if err != nil {
		return err
	}
	one, two := all[0], all[1]
	rebalances, kept, had := one.balanced(), one.owns(), two.owns()
	two.close()
	again, err := g.join(instance("two")...)
	if err != nil {
		return err
	}
	defer one.close()
	defer again.close()
	if err := g.settled(ctx, "it is back", one, again); err != nil {
		return err
	}
	if err := g.produce(ctx, 1); err != nil {
		return err
	}
	if err := g.reads(ctx, 0, 1, one, again); err != nil {
		return err
	}
	if !slices.Equal(again.owns(), had) || !slices.Equal(one.owns(), kept) {
		return fmt.Errorf("%v and %v were owned, now %v and %v", kept, had, one.owns(), again.owns())
	}
	return equal("rebalances of the other", one.balanced(), rebalances)
}

func fenced(ctx context.Context, g *group) error {
	all, err := g.joined(ctx, instance("one"))
	if err != nil {
		return err
	}
	first := all[0]
	second, err := g.join(instance("one")...)
	if err != nil {
		return err
	}
	defer second.close()
	told := func() bool { return first.failed() != nil }
	if err := eventually(ctx, "the first is fenced", told, second); err != nil {
		return err
	}
	if err := expect(first.failed(), kerr.FencedInstanceID); err != nil {
		return err
	}
	first.close()
	hasAll := func() bool { return len(second.owns()) == partitions }
	return eventually(ctx, "the second has all", hasAll, second)
}

func cooperative(ctx context.Context, g *group) error {
	all, err := g.joined(ctx, nil, nil)
	if err != nil {
		return err
	}
	one, two := all[0], all[1]
	defer one.close()
	defer two.close()
	if !slices.Equal(one.gaveUp(), two.owns()) || len(two.gaveUp()) > 0 {
		return fmt.Errorf("given up: %v and %v; the second owns %v", one.gaveUp(), two.gaveUp(), two.owns())
	}
	return nil
}
