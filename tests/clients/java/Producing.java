import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.producer.ProducerRecord;

/** What the producer writes is what the consumer reads. */
final class Producing {
    private Producing() {}

    static void run(Checks checks) {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = "codec-" + codec;
            checks.check(topic, () -> Records.roundTrip(
                    checks, topic, Records.samples(topic, 1000), Map.of("compression.type", codec)));
        }
        for (String acks : List.of("0", "1", "all")) {
            String topic = "acks-" + acks;
            checks.check(topic, () -> Records.roundTrip(
                    checks, topic, Records.samples(topic, 1000), Map.of("acks", acks, "enable.idempotence", false)));
        }
        checks.check("twenty-thousand", () -> Records.roundTrip(
                checks, "twenty-thousand", Records.samples("twenty-thousand", 20_000), Map.of("linger.ms", 5)));
        checks.check("large-batches", () -> {
            List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
            for (int i = 0; i < 32; i++) {
                byte[] value = new byte[200_000];
                Arrays.fill(value, (byte) i);
                records.add(new ProducerRecord<>("large-batches", 0, 1_000_000_000_000L + i, null, value));
            }
            Map<String, Object> settings = Map.of("batch.size", 900_000, "linger.ms", 50);
            Records.roundTrip(checks, "large-batches", records, settings);
        });
    }
}
