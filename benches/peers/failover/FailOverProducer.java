import java.nio.ByteBuffer;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Kafka's Java client as {@code polylogue chaos failover} writes with it: see docs/OPERATIONS.md. Idempotence and acks=all are
 * its defaults. The arguments are the time-out of its requests and connections in milliseconds, bootstrap addresses, topic
 * and number of partitions.
 */
public final class FailOverProducer {
    private static volatile boolean stopped;

    private FailOverProducer() {}

    public static void main(String[] arguments) throws Exception {
        int timeout = Integer.parseInt(arguments[0]);
        String topic = arguments[2];
        int partitions = Integer.parseInt(arguments[3]);
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", arguments[1],
                "linger.ms", 0,
                "request.timeout.ms", timeout,
                "socket.connection.setup.timeout.ms", timeout);
        Thread ends = new Thread(FailOverProducer::untilInputEnds);
        ends.setDaemon(true);
        ends.start();
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (long number = 0; !stopped; number++) {
                for (int partition = 0; partition < partitions; partition++) {
                    send(producer, topic, partition, number);
                }
                Thread.sleep(1);
            }
            producer.flush();
        }
    }

    private static void send(KafkaProducer<byte[], byte[]> producer, String topic, int partition, long number) {
        byte[] value = ByteBuffer.allocate(Long.BYTES).putLong(number).array();
        long sent = System.nanoTime();
        producer.send(new ProducerRecord<>(topic, partition, null, value), (metadata, error) -> {
            if (error != null) {
                System.out.println("failed " + error);
            } else {
                long took = (System.nanoTime() - sent) / 1000;
                System.out.println(partition + " " + number + " " + metadata.offset() + " " + took);
            }
        });
    }

    private static void untilInputEnds() {
        try {
            System.in.transferTo(java.io.OutputStream.nullOutputStream());
        } catch (java.io.IOException error) {
            // An error is an end as well.
        }
        stopped = true;
    }
}
