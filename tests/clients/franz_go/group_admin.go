package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// holds compares all that is committed in a group with what is to be.
func (g *group) holds(ctx context.Context, want ...kadm.Offset) error {
	found, err := g.admin.FetchOffsets(ctx, g.name)
	if err != nil {
		return err
	}
	if err := found.Error(); err != nil {
		return err
	}
	if err := equal("committed partitions", len(found[g.name]), len(want)); err != nil {
		return err
	}
	for _, offset := range want {
		offset.Topic = g.name
		got, _ := found.Lookup(g.name, offset.Partition)
		if got.At != offset.At || got.LeaderEpoch != offset.LeaderEpoch || got.Metadata != offset.Metadata {
			return fmt.Errorf("committed: %+v was expected, %+v came", offset, got.Offset)
		}
	}
	return nil
}

// commit writes an offset as a member.
func (m *member) commit(ctx context.Context, offsets map[int32]kgo.EpochOffset) error {
	var failed error
	answered := func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if answer == nil {
			return
		}
		for _, topic := range answer.Topics {
			for _, partition := range topic.Partitions {
				failed = errors.Join(failed, kerr.ErrorForCode(partition.ErrorCode))
			}
		}
	}
	m.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{m.group.name: offsets}, answered)
	return failed
}

func committed(ctx context.Context, g *group) error {
	nobody, err := g.admin.FetchOffsets(ctx, "nobody-knows")
	if err != nil {
		return err
	}
	if err := equal("topics of a group that nobody knows", len(nobody), 0); err != nil {
		return err
	}
	all, err := g.joined(ctx, nil)
	if err != nil {
		return err
	}
	noted := kgo.PreCommitFnContext(ctx, func(request *kmsg.OffsetCommitRequest) error {
		note := "a note"
		for t := range request.Topics {
			for p := range request.Topics[t].Partitions {
				request.Topics[t].Partitions[p].Metadata = &note
			}
		}
		return nil
	})
	if err := all[0].commit(noted, map[int32]kgo.EpochOffset{0: {Epoch: 7, Offset: 3}}); err != nil {
		return err
	}
	if err := all[0].commit(noted, map[int32]kgo.EpochOffset{2: {Epoch: -1, Offset: 0}}); err != nil {
		return err
	}
	want := []kadm.Offset{
		{Partition: 0, At: 3, LeaderEpoch: 7, Metadata: "a note"},
		{Partition: 2, At: 0, LeaderEpoch: -1, Metadata: "a note"},
	}
	if err := g.holds(ctx, want...); err != nil {
		return err
	}
	all[0].close()
	return g.holds(ctx, want...)
}

func administeringGroups(ctx context.Context, g *group) error {
	all, err := g.joined(ctx, nil)
	if err != nil {
		return err
	}
	offsets := map[int32]kgo.EpochOffset{}
	for partition := range int32(partitions) {
		offsets[partition] = kgo.EpochOffset{Epoch: 0, Offset: 5}
	}
	if err := all[0].commit(ctx, offsets); err != nil {
		return err
	}
	if err := g.withMember(ctx); err != nil {
		return err
	}
	all[0].close()
	if err := g.isIn(ctx, "Empty"); err != nil {
		return err
	}
	altered := kadm.Offsets{}
	for partition := range int32(partitions) {
		altered.AddOffset(g.name, partition, int64(partition), 0)
	}
	if err := g.admin.CommitAllOffsets(ctx, g.name, altered); err != nil {
		return err
	}
	if err := g.deleteOffset(ctx, 1); err != nil {
		return err
	}
	err = g.holds(ctx, kadm.Offset{Partition: 0}, kadm.Offset{Partition: 2, At: 2}, kadm.Offset{Partition: 3, At: 3})
	if err != nil {
		return err
	}
	if _, err := g.admin.DeleteGroup(ctx, g.name); err != nil {
		return err
	}
	if err := g.holds(ctx); err != nil {
		return err
	}
	_, err = g.admin.DeleteGroup(ctx, g.name)
	return expect(err, kerr.GroupIDNotFound)
}

// withMember is what is seen of a group with a member, and what is refused.
func (g *group) withMember(ctx context.Context) error {
	if err := g.isIn(ctx, "Stable"); err != nil {
		return err
	}
	described, err := g.admin.DescribeGroups(ctx, g.name)
	if err != nil {
		return err
	}
	one := described[g.name]
	if err := equal("assigned partitions", len(one.AssignedPartitions()[g.name]), partitions); err != nil {
		return err
	}
	if _, err := g.admin.DeleteGroup(ctx, g.name); !errors.Is(err, kerr.NonEmptyGroup) {
		return fmt.Errorf("deleted with a member: %w", err)
	}
	return expect(g.deleteOffset(ctx, 1), kerr.GroupSubscribedToTopic)
}

// isIn holds the state of a group as it is listed and as it is described.
func (g *group) isIn(ctx context.Context, state string) error {
	listed, err := g.admin.ListGroups(ctx)
	if err != nil {
		return err
	}
	if err := equal("listed state", listed[g.name].State, state); err != nil {
		return err
	}
	described, err := g.admin.DescribeGroups(ctx, g.name)
	if err != nil {
		return err
	}
	return equal("described state", described[g.name].State, state)
}

func (g *group) deleteOffset(ctx context.Context, partition int32) error {
	deleted, err := g.admin.DeleteOffsets(ctx, g.name, kadm.TopicsSet{g.name: {partition: {}}})
	if err != nil {
		return err
	}
	return deleted.Error()
}
