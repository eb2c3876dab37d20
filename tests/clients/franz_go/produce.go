package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func producing(c *checks) {
	for _, codec := range codecs {
		c.check("codec-"+codec.name, func(ctx context.Context) error {
			return c.roundTrip(ctx, "codec-"+codec.name, samples(1000), kgo.ProducerBatchCompression(codec.codec))
		})
	}
	acks := []struct {
		name string
		acks kgo.Acks
	}{{"acks-0", kgo.NoAck()}, {"acks-1", kgo.LeaderAck()}, {"acks-all", kgo.AllISRAcks()}}
	for _, acks := range acks {
		c.check(acks.name, func(ctx context.Context) error {
			plain := []kgo.Opt{kgo.DisableIdempotentWrite(), kgo.RequiredAcks(acks.acks)}
			return c.roundTrip(ctx, acks.name, samples(1000), plain...)
		})
	}
	c.check("large-batches", func(ctx context.Context) error {
		records := make([]*kgo.Record, 8)
		for i := range records {
			records[i] = &kgo.Record{Value: bytes.Repeat([]byte{byte(i)}, 900_000)}
		}
		return c.roundTrip(ctx, "large-batches", records, kgo.ProducerBatchCompression(kgo.NoCompression()))
	})
}

func consuming(c *checks) {
	start := time.Now().UnixMilli() - 100_000
	sent := samples(1000)
	for i, record := range sent {
		record.Timestamp = time.UnixMilli(start + int64(i)*10)
	}
	const topic = "positions"
	// One batch, so that every position but the first is in the middle of it.
	c.check("one-batch", func(ctx context.Context) error {
		return c.roundTrip(ctx, topic, sent, kgo.ProducerLinger(200*time.Millisecond))
	})
	positions := []struct {
		name string
		from kgo.Offset
		want int
	}{
		{"from-middle-of-batch", kgo.NewOffset().At(437), 437},
		{"from-time", kgo.NewOffset().AfterMilli(start + 5005), 501},
		{"from-before-end", kgo.NewOffset().AtEnd().Relative(-10), 990},
	}
	for _, position := range positions {
		c.check(position.name, func(ctx context.Context) error {
			got, err := c.consume(ctx, topic, position.from, len(sent)-position.want)
			if err != nil {
				return err
			}
			return difference(got, sent[position.want:], int64(position.want))
		})
	}
	c.check("from-end", func(ctx context.Context) error {
		quiet, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		got, err := c.consume(quiet, topic, kgo.NewOffset().AtEnd(), 1)
		if err == nil {
			return fmt.Errorf("nothing was expected, offset %d came", got[0].Offset)
		}
		if quiet.Err() == nil {
			return err
		}
		return nil
	})
}
