import java.io.PrintStream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** A consumer with a thread of its own, which polls all the time and does what it is asked to in between. */
final class Member implements ConsumerRebalanceListener {
    private interface Action {
        void on(KafkaConsumer<byte[], byte[]> consumer);
    }

    private final Group group;
    private final ConcurrentLinkedQueue<Action> asked = new ConcurrentLinkedQueue<>();
    private final Thread thread;
    private final Set<Integer> owned = new TreeSet<>();
    private final Set<Integer> revoked = new TreeSet<>();
    private final List<List<Long>> read = new ArrayList<>();
    private int rebalances;
    private Exception error;
    private boolean stopped;

    Member(Group group, Map<String, Object> settings) {
        this.group = group;
        Map<String, Object> all = new HashMap<>(settings);
        all.put("bootstrap.servers", group.checks.bootstrap);
        all.put("group.id", group.name);
        all.put("enable.auto.commit", false);
        all.put("auto.offset.reset", "earliest");
        all.put("default.api.timeout.ms", 15000);
        if (!"consumer".equals(all.get("group.protocol"))) {
            all.put("session.timeout.ms", 6000);
            all.put("heartbeat.interval.ms", 500);
        }
        thread = new Thread(() -> run(all), group.name);
        thread.setDaemon(true);
        thread.start();
    }

    private void run(Map<String, Object> settings) {
        var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        try {
            consumer.subscribe(List.of(group.name), this);
            while (!stopped) {
                for (Action action = asked.poll(); action != null; action = asked.poll()) {
                    action.on(consumer);
                }
                if (!stopped) {
                    poll(consumer);
                }
            }
        } catch (Exception failed) {
            synchronized (this) {
                error = failed;
            }
            // One that was fenced has nothing to leave.
            consumer.close();
        }
    }

    private void poll(KafkaConsumer<byte[], byte[]> consumer) {
        var records = consumer.poll(Duration.ofMillis(100));
        synchronized (this) {
            records.forEach(record -> read.add(List.of((long) record.partition(), record.offset())));
            notifyAll();
        }
    }

    private static Set<Integer> numbers(Collection<TopicPartition> partitions) {
        return partitions.stream().map(TopicPartition::partition).collect(Collectors.toSet());
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        group.took(this, numbers(partitions));
        synchronized (this) {
            owned.addAll(numbers(partitions));
            rebalances++;
        }
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        synchronized (this) {
            owned.removeAll(numbers(partitions));
            revoked.addAll(numbers(partitions));
        }
        group.gave(this, numbers(partitions));
    }

    /** What it gives for an action with its consumer, between two polls. */
    <T> T ask(Function<KafkaConsumer<byte[], byte[]>, T> action) throws Exception {
        CompletableFuture<T> answer = new CompletableFuture<>();
        asked.add(consumer -> {
            try {
                answer.complete(action.apply(consumer));
            } catch (RuntimeException failed) {
                answer.completeExceptionally(failed);
            }
        });
        return answer.get(Group.WITHIN_S, TimeUnit.SECONDS);
    }

    void commit() throws Exception {
        ask(consumer -> {
            consumer.commitSync();
            return null;
        });
    }

    /** Leaves the group, but for a static member. */
    void close() throws Exception {
        ask(consumer -> {
            stopped = true;
            group.gave(this, owned());
            consumer.close();
            return null;
        });
    }

    synchronized Set<Integer> owned() {
        return new TreeSet<>(owned);
    }

    synchronized Set<Integer> revoked() {
        return new TreeSet<>(revoked);
    }

    synchronized int rebalances() {
        return rebalances;
    }

    synchronized Exception error() {
        return error;
    }

    /** Says how much it has read whenever that is more, for ever. */
    synchronized void say(PrintStream out) {
        try {
            for (int said = 0;; wait()) {
                if (read.size() > said) {
                    said = read.size();
                    out.println(said);
                }
            }
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }

    /** Partition and offset of each record. */
    synchronized List<List<Long>> read() {
        return new ArrayList<>(read);
    }
}
