package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const partitions = 4

// group is a consumer group and its topic, both of one name; it watches that no partition has two owners.
type group struct {
	c       *checks
	name    string
	server  bool // whether its members speak the server's protocol
	options []kgo.Opt
	admin   *kadm.Client

	mu     sync.Mutex
	owners map[int32]*member
	twice  []int32
}

// member polls all the time, and knows from franz-go's callbacks what it owns.
type member struct {
	group  *group
	client *kgo.Client
	done   chan struct{}

	mu         sync.Mutex
	owned      map[int32]bool
	revoked    map[int32]bool
	rebalances int
	read       [][2]int64 // partition and offset
	err        error
}

// join adds a member; it reads from the start where nothing is committed, and commits only what it is told to.
func (g *group) join(more ...kgo.Opt) (*member, error) {
	m := &member{group: g, done: make(chan struct{}), owned: map[int32]bool{}, revoked: map[int32]bool{}}
	given := func(_ context.Context, _ *kgo.Client, topics map[string][]int32) { m.onAssigned(topics[g.name]) }
	taken := func(_ context.Context, _ *kgo.Client, topics map[string][]int32) { m.onRevoked(topics[g.name]) }
	options := []kgo.Opt{
		kgo.ConsumerGroup(g.name), kgo.ConsumeTopics(g.name), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(6 * time.Second), kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.OnPartitionsAssigned(given), kgo.OnPartitionsRevoked(taken), kgo.OnPartitionsLost(taken),
	}
	client, err := g.c.client(slices.Concat(options, g.options, more)...)
	if err != nil {
		return nil, err
	}
	m.client = client
	go m.poll()
	return m, nil
}

func (m *member) poll() {
	defer close(m.done)
	for {
		fetches := m.client.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		m.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) { m.read = append(m.read, [2]int64{int64(r.Partition), r.Offset}) })
		if err := fetches.Err(); err != nil && m.err == nil {
			m.err = err
		}
		m.mu.Unlock()
	}
}

func (m *member) onAssigned(assigned []int32) {
	m.group.took(m, assigned)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, partition := range assigned {
		m.owned[partition] = true
	}
	m.rebalances++
}

func (m *member) onRevoked(revoked []int32) {
	m.mu.Lock()
	for _, partition := range revoked {
		delete(m.owned, partition)
		m.revoked[partition] = true
	}
	m.mu.Unlock()
	m.group.gave(m, revoked)
}

// close leaves the group, but for a static member.
func (m *member) close() {
	m.group.gave(m, m.owns())
	m.client.Close()
	<-m.done
}

func sorted(of map[int32]bool) []int32 {
	all := []int32{}
	for partition := range of {
		all = append(all, partition)
	}
	slices.Sort(all)
	return all
}

func (m *member) owns() []int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return sorted(m.owned)
}

func (m *member) gaveUp() []int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return sorted(m.revoked)
}

func (m *member) balanced() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rebalances
}

func (m *member) failed() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (g *group) took(m *member, assigned []int32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, partition := range assigned {
		if before := g.owners[partition]; before != nil && before != m {
			g.twice = append(g.twice, partition)
		}
		g.owners[partition] = m
	}
}

func (g *group) gave(m *member, revoked []int32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, partition := range revoked {
		if g.owners[partition] == m {
			delete(g.owners, partition)
		}
	}
}

// eventually polls until the condition holds; a member that failed meanwhile fails it.
func eventually(ctx context.Context, what string, condition func() bool, members ...*member) error {
	for !condition() {
		for _, m := range members {
			if err := m.failed(); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not in time; owned: %v", what, owned(members))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func owned(members []*member) [][]int32 {
	var all [][]int32
	for _, m := range members {
		all = append(all, m.owns())
	}
	return all
}

// settled waits until these members, and no other, share all partitions as evenly as can be.
func (g *group) settled(ctx context.Context, what string, members ...*member) error {
	least := partitions / len(members)
	shared := func() bool {
		var all []int32
		for _, each := range owned(members) {
			if len(each) < least || len(each) > least+1 {
				return false
			}
			all = append(all, each...)
		}
		slices.Sort(all)
		return slices.Equal(all, []int32{0, 1, 2, 3})
	}
	if err := eventually(ctx, what, shared, members...); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.twice) > 0 {
		return fmt.Errorf("%s: partitions with two owners: %v", what, g.twice)
	}
	return nil
}

// reads waits until these members have read every record between two offsets, each once.
func (g *group) reads(ctx context.Context, first, end int64, members ...*member) error {
	var want [][2]int64
	for partition := range int64(partitions) {
		for offset := first; offset < end; offset++ {
			want = append(want, [2]int64{partition, offset})
		}
	}
	enough := func() bool { return len(read(members)) >= len(want) }
	if err := eventually(ctx, "records", enough, members...); err != nil {
		return err
	}
	if got := read(members); !slices.Equal(got, want) {
		return fmt.Errorf("%v was expected, %v came", want, got)
	}
	return nil
}

func read(members []*member) [][2]int64 {
	var all [][2]int64
	for _, m := range members {
		m.mu.Lock()
		all = append(all, m.read...)
		m.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b [2]int64) int { return slices.Compare(a[:], b[:]) })
	return all
}

// produce writes so many records to each partition.
func (g *group) produce(ctx context.Context, count int) error {
	var records []*kgo.Record
	for i := range partitions * count {
		records = append(records, &kgo.Record{Partition: int32(i % partitions), Value: fmt.Appendf(nil, "%d", i)})
	}
	return g.c.produce(ctx, g.name, records)
}
