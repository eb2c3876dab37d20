import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** A consumer without a group starts where it is told to. */
final class Consuming {
    private static final String TOPIC = "positions";
    private static final TopicPartition PARTITION = new TopicPartition(TOPIC, 0);
    private static final int COUNT = 1000;

    private Consuming() {}

    private interface Position {
        void seek(KafkaConsumer<byte[], byte[]> consumer);
    }

    static void run(Checks checks) {
        long start = System.currentTimeMillis() - 100_000;
        List<ProducerRecord<byte[], byte[]>> sent = Records.samples(TOPIC, COUNT, start, 10);
        // One batch, so that most positions are in the middle of it.
        Map<String, Object> one = Map.of("batch.size", 900_000, "linger.ms", 300);
        checks.check("one-batch", () -> Records.roundTrip(checks, TOPIC, sent, one));
        from(checks, "from-middle-of-batch", sent, 437, consumer -> consumer.seek(PARTITION, 437));
        from(checks, "from-time", sent, 501, consumer -> {
            var found = consumer.offsetsForTimes(Map.of(PARTITION, start + 5005)).get(PARTITION);
            Checks.equal("timestamp", found.timestamp(), start + 5010);
            consumer.seek(PARTITION, found.offset());
        });
        checks.check("no-offset-for-a-later-time", () -> {
            try (var consumer = Records.consumer(checks, TOPIC)) {
                long later = System.currentTimeMillis() + 100_000;
                Checks.equal("offset", consumer.offsetsForTimes(Map.of(PARTITION, later)).get(PARTITION), null);
            }
        });
        checks.check("beginning-and-end", () -> {
            try (var consumer = Records.consumer(checks, TOPIC)) {
                List<TopicPartition> asked = List.of(PARTITION);
                Checks.equal("beginning", consumer.beginningOffsets(asked).get(PARTITION), 0L);
                Checks.equal("end", consumer.endOffsets(asked).get(PARTITION), (long) COUNT);
                consumer.seekToEnd(asked);
                Checks.equal("position", consumer.position(PARTITION), (long) COUNT);
            }
        });
        checks.check("out-of-range", () -> {
            try (var consumer = Records.consumer(checks, TOPIC)) {
                consumer.seek(PARTITION, COUNT + 5);
                Records.read(consumer, 1);
                throw new AssertionError("a record came");
            } catch (OffsetOutOfRangeException expected) {
                Checks.equal("partitions", expected.partitions(), Set.of(PARTITION));
            }
        });
    }

    private static void from(
            Checks checks, String name, List<ProducerRecord<byte[], byte[]>> sent, int first, Position position) {
        checks.check(name, () -> {
            try (var consumer = Records.consumer(checks, TOPIC)) {
                position.seek(consumer);
                Records.same(Records.read(consumer, COUNT - first), sent.subList(first, COUNT), first);
            }
        });
    }
}
