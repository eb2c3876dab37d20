package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const administered = "administered"

// expect fails unless err is what Kafka says in this case.
func expect(err error, want *kerr.Error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("%v was expected, %v came", want, err)
	}
	return nil
}

// equal fails unless got is want.
func equal[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: %v was expected, %v came", what, want, got)
	}
	return nil
}

func administering(c *checks) {
	client, err := c.client()
	if err != nil {
		panic(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics(c, client, admin)
	configs(c, admin)
	offsets(c, admin)
	c.check("delete-topic", func(ctx context.Context) error {
		if _, err := admin.DeleteTopic(ctx, administered); err != nil {
			return err
		}
		_, err := admin.DeleteTopic(ctx, administered)
		return expect(err, kerr.UnknownTopicOrPartition)
	})
}

func topics(c *checks, client *kgo.Client, admin *kadm.Client) {
	c.check("describe-cluster", func(ctx context.Context) error {
		cluster, err := admin.BrokerMetadata(ctx)
		if err != nil {
			return err
		}
		if cluster.Cluster == "" {
			return errors.New("the cluster has no id")
		}
		return equal("brokers", len(cluster.Brokers), 1)
	})
	c.check("create-topic", func(ctx context.Context) error {
		week := "604800001"
		_, err := admin.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": &week}, administered)
		return err
	})
	c.check("create-existing-topic", func(ctx context.Context) error {
		_, err := admin.CreateTopic(ctx, 2, 1, nil, administered)
		return expect(err, kerr.TopicAlreadyExists)
	})
	c.check("create-with-unknown-config", func(ctx context.Context) error {
		_, err := admin.CreateTopic(ctx, 1, 1, map[string]*string{"no.such.key": kadm.StringPtr("1")}, "refused")
		return expect(err, kerr.InvalidConfig)
	})
	c.check("unknown-topic", func(ctx context.Context) error {
		listed, err := admin.ListTopics(ctx, "no-such-topic")
		if err != nil {
			return err
		}
		return expect(listed["no-such-topic"].Err, kerr.UnknownTopicOrPartition)
	})
	c.check("add-partitions", func(ctx context.Context) error {
		added, err := admin.CreatePartitions(ctx, 3, administered)
		if err != nil {
			return err
		}
		if err := added.Error(); err != nil {
			return err
		}
		listed, err := admin.ListTopics(ctx)
		if err != nil {
			return err
		}
		return equal("partitions", len(listed[administered].Partitions), 5)
	})
	c.check("describe-by-id", func(ctx context.Context) error {
		listed, err := admin.ListTopics(ctx, administered)
		if err != nil {
			return err
		}
		request := kmsg.NewPtrMetadataRequest()
		wanted := kmsg.NewMetadataRequestTopic()
		wanted.TopicID = listed[administered].ID
		request.Topics = append(request.Topics, wanted)
		answer, err := request.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		if len(answer.Topics) != 1 || answer.Topics[0].Topic == nil {
			return fmt.Errorf("one topic with a name was expected, %+v came", answer.Topics)
		}
		return equal("name", *answer.Topics[0].Topic, administered)
	})
}

// configured gives the value of a key of the administered topic.
func configured(ctx context.Context, admin *kadm.Client, key string) (string, error) {
	described, err := admin.DescribeTopicConfigs(ctx, administered)
	if err != nil {
		return "", err
	}
	topic, err := described.On(administered, nil)
	if err != nil {
		return "", err
	}
	for _, config := range topic.Configs {
		if config.Key == key {
			return config.MaybeValue(), topic.Err
		}
	}
	return "", fmt.Errorf("%s is not described (%w)", key, topic.Err)
}

// alter changes one key of the administered topic and nothing else.
func alter(ctx context.Context, admin *kadm.Client, change kadm.AlterConfig) error {
	altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{change}, administered)
	if err != nil {
		return err
	}
	answer, err := altered.On(administered, nil)
	if err != nil {
		return err
	}
	return answer.Err
}

func configs(c *checks, admin *kadm.Client) {
	holds := func(ctx context.Context, key, want string) error {
		value, err := configured(ctx, admin, key)
		if err != nil {
			return err
		}
		return equal(key, value, want)
	}
	c.check("describe-configs", func(ctx context.Context) error { return holds(ctx, "retention.ms", "604800001") })
	c.check("alter-configs", func(ctx context.Context) error {
		change := kadm.AlterConfig{Op: kadm.SetConfig, Name: "segment.bytes", Value: kadm.StringPtr("2097152")}
		if err := alter(ctx, admin, change); err != nil {
			return err
		}
		if err := holds(ctx, "segment.bytes", "2097152"); err != nil {
			return err
		}
		return holds(ctx, "retention.ms", "604800001")
	})
	c.check("delete-config", func(ctx context.Context) error {
		if err := alter(ctx, admin, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "retention.ms"}); err != nil {
			return err
		}
		return holds(ctx, "retention.ms", "604800000")
	})
	c.check("alter-unknown-config", func(ctx context.Context) error {
		change := kadm.AlterConfig{Op: kadm.SetConfig, Name: "no.such.key", Value: kadm.StringPtr("1")}
		return expect(alter(ctx, admin, change), kerr.InvalidConfig)
	})
}

func offsets(c *checks, admin *kadm.Client) {
	start := time.Now().UnixMilli() - 100_000
	c.check("list-offsets", func(ctx context.Context) error {
		records := samples(100)
		for i, record := range records {
			record.Timestamp = time.UnixMilli(start + int64(i)*10)
		}
		// The newest record is not the last.
		records[70].Timestamp = time.UnixMilli(start + 5000)
		if err := c.produce(ctx, administered, records); err != nil {
			return err
		}
		kinds := []struct {
			name string
			list func(context.Context, ...string) (kadm.ListedOffsets, error)
			want int64
		}{
			{"earliest", admin.ListStartOffsets, 0},
			{"earliest local", admin.ListLocalLogStartOffsets, 0},
			{"latest", admin.ListEndOffsets, 100},
			{"max timestamp", admin.ListMaxTimestampOffsets, 70},
			{"by time", func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
				return admin.ListOffsetsAfterMilli(ctx, start+305, topics...)
			}, 31},
		}
		for _, kind := range kinds {
			if err := listed(ctx, kind.list, kind.name, kind.want); err != nil {
				return err
			}
		}
		return nil
	})
	c.check("delete-records", func(ctx context.Context) error {
		before := kadm.Offsets{}
		before.AddOffset(administered, 0, 40, -1)
		deleted, err := admin.DeleteRecords(ctx, before)
		if err != nil {
			return err
		}
		if err := deleted.Error(); err != nil {
			return err
		}
		return listed(ctx, admin.ListStartOffsets, "earliest", 40)
	})
}

// listed holds one kind of offset of partition 0 against what it has to be.
func listed(
	ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error), kind string, want int64,
) error {
	all, err := list(ctx, administered)
	if err != nil {
		return err
	}
	offset, found := all.Lookup(administered, 0)
	if !found || offset.Err != nil {
		return fmt.Errorf("%s: found %v, %w", kind, found, offset.Err)
	}
	return equal(kind, offset.Offset, want)
}
