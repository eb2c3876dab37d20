package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var codecs = []struct {
	name  string
	codec kgo.CompressionCodec
}{
	{"none", kgo.NoCompression()}, {"gzip", kgo.GzipCompression()}, {"snappy", kgo.SnappyCompression()},
	{"lz4", kgo.Lz4Compression()}, {"zstd", kgo.ZstdCompression()},
}

// samples are records with keys, values and headers that are there, empty and null.
func samples(count int) []*kgo.Record {
	records := make([]*kgo.Record, count)
	for i := range records {
		record := &kgo.Record{Key: fmt.Appendf(nil, "key-%d", i), Value: bytes.Repeat([]byte("value "), i%200+1)}
		switch i % 10 {
		case 1:
			record.Key = nil
		case 2:
			record.Key = []byte{}
		case 3:
			record.Value = nil
		case 4:
			record.Value = []byte{}
		case 5:
			record.Headers = []kgo.RecordHeader{
				{Key: "twice", Value: []byte("first")}, {Key: "null"},
				{Key: "empty", Value: []byte{}}, {Key: "twice", Value: []byte("second")},
			}
		}
		records[i] = record
	}
	return records
}

// same tells null from empty, which bytes.Equal does not.
func same(one, other []byte) bool {
	return (one == nil) == (other == nil) && bytes.Equal(one, other)
}

// difference names the first difference of what was read, from offset on, to what was sent.
func difference(got, sent []*kgo.Record, offset int64) error {
	if len(got) != len(sent) {
		return fmt.Errorf("%d records were sent, %d came", len(sent), len(got))
	}
	for i, record := range got {
		want := sent[i]
		if record.Offset != offset+int64(i) {
			return fmt.Errorf("offset %d was expected, %d came", offset+int64(i), record.Offset)
		}
		if !same(record.Key, want.Key) || !same(record.Value, want.Value) {
			return fmt.Errorf("at %d: sent %q=%q, came %q=%q", record.Offset, want.Key, want.Value, record.Key, record.Value)
		}
		if len(record.Headers) != len(want.Headers) {
			return fmt.Errorf("at %d: sent headers %v, came %v", record.Offset, want.Headers, record.Headers)
		}
		for h, header := range record.Headers {
			if header.Key != want.Headers[h].Key || !same(header.Value, want.Headers[h].Value) {
				return fmt.Errorf("at %d: sent headers %v, came %v", record.Offset, want.Headers, record.Headers)
			}
		}
	}
	return nil
}

// create makes a topic of one partition.
func (c *checks) create(ctx context.Context, topic string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, topic)
	return err
}

// produce sends records to a topic's partition 0, and waits for all of them.
func (c *checks) produce(ctx context.Context, topic string, records []*kgo.Record, options ...kgo.Opt) error {
	options = append(options, kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	client, err := c.client(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(ctx, records...).FirstErr()
}

// consume reads count records of partition 0, without a group.
func (c *checks) consume(ctx context.Context, topic string, from kgo.Offset, count int) ([]*kgo.Record, error) {
	assigned := map[string]map[int32]kgo.Offset{topic: {0: from}}
	client, err := c.client(kgo.ConsumePartitions(assigned))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var records []*kgo.Record
	for len(records) < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("after %d of %d records: %w", len(records), count, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records, nil
}

// roundTrip creates a topic, writes to it and reads it from the beginning.
func (c *checks) roundTrip(ctx context.Context, topic string, sent []*kgo.Record, options ...kgo.Opt) error {
	if err := c.create(ctx, topic); err != nil {
		return err
	}
	if err := c.produce(ctx, topic, sent, options...); err != nil {
		return err
	}
	got, err := c.consume(ctx, topic, kgo.NewOffset().AtStart(), len(sent))
	if err != nil {
		return err
	}
	return difference(got, sent, 0)
}
