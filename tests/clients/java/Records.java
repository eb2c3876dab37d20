import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Records with all that a client may send, and how they get to a node and back. */
final class Records {
    private Records() {}

    /** Keys, values and headers that are there, empty and null; one per {@code step} ms from {@code start} on. */
    static List<ProducerRecord<byte[], byte[]>> samples(String topic, int count, long start, int step) {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            byte[] key = i % 10 == 1 ? null : i % 10 == 2 ? new byte[0] : ("key-" + i).getBytes();
            byte[] text = ("value " + i + " ").repeat(1 + i % 20).getBytes();
            byte[] value = i % 10 == 3 ? null : i % 10 == 4 ? new byte[0] : text;
            ProducerRecord<byte[], byte[]> record =
                    new ProducerRecord<>(topic, 0, start + (long) i * step, key, value);
            if (i % 10 == 5) {
                record.headers().add("twice", "first".getBytes()).add("null", null);
                record.headers().add("empty", new byte[0]).add("twice", "second".getBytes());
            }
            records.add(record);
        }
        return records;
    }

    static List<ProducerRecord<byte[], byte[]>> samples(String topic, int count) {
        return samples(topic, count, System.currentTimeMillis() - count, 1);
    }

    static Admin admin(Checks checks) {
        return Admin.create(Map.of(
                "bootstrap.servers", checks.bootstrap, "request.timeout.ms", 10000, "default.api.timeout.ms", 15000));
    }

    static void create(Checks checks, String topic) throws Exception {
        try (Admin admin = admin(checks)) {
            admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get();
        }
    }

    /** Sends all; gives the offset of each. */
    static List<Long> produce(
            Checks checks, List<ProducerRecord<byte[], byte[]>> records, Map<String, Object> settings)
            throws Exception {
        Map<String, Object> all = new HashMap<>(settings);
        all.put("bootstrap.servers", checks.bootstrap);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        List<Long> offsets = new ArrayList<>();
        try (var producer = new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (var record : records) {
                sent.add(producer.send(record));
            }
            producer.flush();
            for (var one : sent) {
                offsets.add(one.get(15, TimeUnit.SECONDS).offset());
            }
        }
        return offsets;
    }

    /** A consumer without a group that has the topic's partition 0, checks every CRC and starts nowhere yet. */
    static KafkaConsumer<byte[], byte[]> consumer(Checks checks, String topic) {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", checks.bootstrap, "check.crcs", true, "auto.offset.reset", "none",
                "default.api.timeout.ms", 15000);
        var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        consumer.assign(List.of(new TopicPartition(topic, 0)));
        return consumer;
    }

    /** Reads on from where the consumer is until it has {@code count} records. */
    static List<ConsumerRecord<byte[], byte[]>> read(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (records.size() < count && System.nanoTime() < end) {
            consumer.poll(Duration.ofMillis(500)).forEach(records::add);
        }
        Checks.equal("records", records.size(), count);
        return records;
    }

    /** Compares record by record; the first that was read has the offset {@code first}. */
    static void same(
            List<ConsumerRecord<byte[], byte[]>> got, List<ProducerRecord<byte[], byte[]>> sent, long first) {
        Checks.equal("records", got.size(), sent.size());
        for (int i = 0; i < got.size(); i++) {
            var one = got.get(i);
            var other = sent.get(i);
            String at = " at " + one.offset();
            Checks.equal("offset", one.offset(), first + i);
            Checks.equal("timestamp" + at, one.timestamp(), other.timestamp());
            Checks.equal("key" + at, text(one.key()), text(other.key()));
            Checks.equal("value" + at, text(one.value()), text(other.value()));
            Checks.equal("headers" + at, text(one.headers().toArray()), text(other.headers().toArray()));
        }
    }

    private static String text(byte[] bytes) {
        return Arrays.toString(bytes);
    }

    private static String text(Header[] headers) {
        StringBuilder all = new StringBuilder();
        for (Header header : headers) {
            all.append(header.key()).append('=').append(text(header.value())).append(' ');
        }
        return all.toString();
    }

    /** Creates the topic, writes the records and reads them from the beginning. */
    static void roundTrip(
            Checks checks, String topic, List<ProducerRecord<byte[], byte[]>> sent, Map<String, Object> settings)
            throws Exception {
        create(checks, topic);
        produce(checks, sent, settings);
        try (var consumer = consumer(checks, topic)) {
            consumer.seekToBeginning(consumer.assignment());
            same(read(consumer, sent.size()), sent, 0);
        }
    }
}
