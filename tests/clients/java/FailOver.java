import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writes a record to each partition every millisecond and reads all of them in a group, with the client's own settings,
 * until its standard input ends. Then it waits until all that was written is read, and ends with 0 if no call has failed
 * and each record came once and in order. The arguments are bootstrap addresses, topic and number of partitions; on the
 * way it prints {@code progress WRITTEN READ}, and each error.
 */
public final class FailOver {
    private static final Duration READ_WITHIN = Duration.ofSeconds(30);
    private static final long SAY_EVERY_MS = 20;

    private final String bootstrap;
    private final String topic;
    private final int partitions;
    private final AtomicLong written = new AtomicLong();
    private final AtomicLong read = new AtomicLong();
    private final ConcurrentLinkedQueue<String> errors = new ConcurrentLinkedQueue<>();
    private volatile boolean stopWriting;
    private volatile boolean stopReading;

    private FailOver(String[] arguments) {
        bootstrap = arguments[0];
        topic = arguments[1];
        partitions = Integer.parseInt(arguments[2]);
    }

    /** How many records went to each partition. */
    private long write() throws InterruptedException {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap);
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            long number = 0;
            while (!stopWriting) {
                byte[] value = ByteBuffer.allocate(Long.BYTES).putLong(number).array();
                for (int partition = 0; partition < partitions; partition++) {
                    producer.send(new ProducerRecord<>(topic, partition, null, value), (metadata, error) -> {
                        if (error == null) {
                            written.incrementAndGet();
                        } else {
                            fail("a record was not written: " + error);
                        }
                    });
                }
                number++;
                Thread.sleep(1);
            }
            producer.flush();
            return number;
        }
    }

    private void read() {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", bootstrap, "group.id", "readers", "auto.offset.reset", "earliest");
        Map<Integer, Long> next = new HashMap<>();
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            while (!stopReading) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    long number = ByteBuffer.wrap(record.value()).getLong();
                    long expected = next.getOrDefault(record.partition(), 0L);
                    if (number != expected) {
                        fail("partition " + record.partition() + ": " + number + " at offset " + record.offset()
                                + " where " + expected + " is next");
                    }
                    next.put(record.partition(), Math.max(expected, number + 1));
                    read.set(next.values().stream().mapToLong(Long::longValue).sum());
                }
            }
        }
    }

    private void fail(String error) {
        errors.add(error);
        System.out.println(error);
    }

    /** A thread whose end by an exception is an error. */
    private Thread start(String what, Checks.Body body) {
        Thread thread = new Thread(() -> {
            try {
                body.run();
            } catch (Exception error) {
                fail(what + " failed: " + error);
            }
        });
        thread.start();
        return thread;
    }

    private void untilInputEnds() throws IOException, InterruptedException {
        Thread teller = new Thread(() -> {
            try {
                while (true) {
                    System.out.println("progress " + written.get() + " " + read.get());
                    Thread.sleep(SAY_EVERY_MS);
                }
            } catch (InterruptedException ended) {
                // Nobody listens any more.
            }
        });
        teller.start();
        while (System.in.read() >= 0) {}
        teller.interrupt();
        teller.join();
    }

    private boolean run() throws Exception {
        List<Long> sent = new ArrayList<>();
        Thread writer = start("writing", () -> sent.add(write()));
        Thread reader = start("reading", this::read);
        untilInputEnds();
        stopWriting = true;
        writer.join();
        long all = sent.isEmpty() ? -1 : sent.get(0) * partitions;
        long deadline = System.nanoTime() + READ_WITHIN.toNanos();
        while (read.get() < all && errors.isEmpty() && System.nanoTime() < deadline) {
            Thread.sleep(SAY_EVERY_MS);
        }
        stopReading = true;
        reader.join();
        System.out.println(all + " sent, " + written.get() + " written, " + read.get() + " read");
        return errors.isEmpty() && written.get() == all && read.get() == all;
    }

    public static void main(String[] arguments) throws Exception {
        System.exit(new FailOver(arguments).run() ? 0 : 1);
    }
}
