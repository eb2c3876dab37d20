import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** A group and its topic, both of one name; watches that no partition has two owners. */
final class Group {
    static final int PARTITIONS = 4;
    static final long WITHIN_S = 30;

    final Checks checks;
    final Admin admin;
    final String name;
    private final Map<String, Object> settings;
    private final Map<Integer, Member> owners = new HashMap<>();
    private final List<Integer> twice = new ArrayList<>();

    /** The settings are those of each member. */
    Group(Checks checks, Admin admin, String name, Map<String, Object> settings) {
        this.checks = checks;
        this.admin = admin;
        this.name = name;
        this.settings = settings;
    }

    /** What every check begins with: the topic is there, and the node knows it. */
    Group created() throws Exception {
        admin.createTopics(List.of(new NewTopic(name, PARTITIONS, (short) 1))).all().get();
        eventually("its topic is known", () -> known(admin.describeTopics(List.of(name)).allTopicNames()));
        return this;
    }

    private static boolean known(KafkaFuture<?> described) {
        try {
            described.get();
            return true;
        } catch (Exception error) {
            if (error.getCause() instanceof UnknownTopicOrPartitionException) {
                return false;
            }
            throw new AssertionError(error);
        }
    }

    Member join(Map<String, Object> more) {
        Map<String, Object> all = new HashMap<>(settings);
        all.putAll(more);
        return new Member(this, all);
    }

    Member join() {
        return join(Map.of());
    }

    Member joinAs(String instance) {
        return join(Map.of("group.instance.id", instance));
    }

    synchronized void took(Member member, Collection<Integer> partitions) {
        for (int partition : partitions) {
            Member before = owners.put(partition, member);
            if (before != null && before != member) {
                twice.add(partition);
            }
        }
    }

    synchronized void gave(Member member, Collection<Integer> partitions) {
        partitions.forEach(partition -> owners.remove(partition, member));
    }

    private synchronized List<Integer> ownedTwice() {
        return List.copyOf(twice);
    }

    /** So many records to each partition. */
    void produce(int count) throws Exception {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < PARTITIONS * count; i++) {
            records.add(new ProducerRecord<>(name, i % PARTITIONS, null, ("value " + i).getBytes()));
        }
        Records.produce(checks, records, Map.of());
    }

    /** Polls until the condition holds; a member that failed meanwhile fails it. */
    static void eventually(String what, BooleanSupplier condition, Member... members) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(WITHIN_S);
        while (!condition.getAsBoolean()) {
            for (Member member : members) {
                if (member.error() != null) {
                    throw member.error();
                }
            }
            if (System.nanoTime() > end) {
                throw new AssertionError(what + ": not within " + WITHIN_S + " s; owned: " + owned(members));
            }
            Thread.sleep(20);
        }
    }

    private static List<Set<Integer>> owned(Member... members) {
        return List.of(members).stream().map(Member::owned).toList();
    }

    /** Waits until these members, and no other, share all partitions as evenly as can be. */
    void settled(String what, Member... members) throws Exception {
        int least = PARTITIONS / members.length;
        eventually(what, () -> {
            List<Set<Integer>> owned = owned(members);
            Set<Integer> all = new TreeSet<>();
            owned.forEach(all::addAll);
            boolean even = owned.stream().allMatch(each -> each.size() >= least && each.size() <= least + 1);
            return even && all.size() == PARTITIONS && owned.stream().mapToInt(Set::size).sum() == PARTITIONS;
        }, members);
        Checks.equal("partitions with two owners", ownedTwice(), List.of());
    }

    /** Waits until these members have read so many records, and gives partition and offset of each, in order. */
    static List<List<Long>> read(int count, Member... members) throws Exception {
        eventually("records", () -> all(members).size() >= count, members);
        return all(members);
    }

    private static List<List<Long>> all(Member... members) {
        List<List<Long>> all = new ArrayList<>();
        List.of(members).forEach(member -> all.addAll(member.read()));
        all.sort(Comparator.comparing((List<Long> record) -> record.get(0)).thenComparing(record -> record.get(1)));
        return all;
    }

    /** Partition and offset of every record between two offsets. */
    static List<List<Long>> records(long first, long end) {
        List<List<Long>> records = new ArrayList<>();
        for (long partition = 0; partition < PARTITIONS; partition++) {
            for (long offset = first; offset < end; offset++) {
                records.add(List.of(partition, offset));
            }
        }
        return records;
    }
}
