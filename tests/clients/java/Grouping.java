import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.UnreleasedInstanceIdException;

/**
 * Consumers in groups, of the classic protocol and of the server's own. Each check has a group of its own, so
 * that they run side by side.
 */
final class Grouping {
    private static final Map<String, Object> CLASSIC = Map.of("group.protocol", "classic");
    private static final Map<String, Object> SERVER_SIDE = Map.of("group.protocol", "consumer");
    private static final Map<String, Object> COOPERATIVE = Map.of(
            "group.protocol", "classic", "partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
    private static final int SIDE_BY_SIDE = 4;
    /** How long a position is held back: several times as long as a client waits before it asks again. */
    private static final int HELD_S = 8;

    private final Checks checks;
    private final Admin admin;
    private final ExecutorService running = Executors.newFixedThreadPool(SIDE_BY_SIDE);

    private Grouping(Checks checks, Admin admin) {
        this.checks = checks;
        this.admin = admin;
    }

    private interface Body {
        void run(Group group) throws Exception;
    }

    static void classic(Checks checks) {
        run(checks, all -> {
            all.both("classic");
            all.check("fenced", CLASSIC, Grouping::fenced);
            all.check("cooperative", COOPERATIVE, Grouping::cooperative);
            all.check("cooperative-shared", COOPERATIVE, Grouping::shared);
        });
    }

    static void serverSide(Checks checks) {
        run(checks, all -> {
            all.both("consumer");
            all.check("unreleased", SERVER_SIDE, Grouping::unreleased);
            all.check("cooperative", SERVER_SIDE, Grouping::cooperative);
        });
    }

    private static void run(Checks checks, Consumer<Grouping> chosen) {
        try (Admin admin = Records.admin(checks)) {
            Grouping all = new Grouping(checks, admin);
            chosen.accept(all);
            all.running.shutdown();
            checks.check("ended", () -> Checks.equal(
                    "whether all have ended", all.running.awaitTermination(100, TimeUnit.SECONDS), true));
        }
    }

    /** What both protocols are held to. */
    private void both(String protocol) {
        Map<String, Object> settings = Map.of("group.protocol", protocol);
        check("crashed", settings, group -> crashed(group, protocol));
        check("held-back", settings, group -> heldBack(group, protocol));
        check("alone-and-resumed", settings, Grouping::aloneAndResumed);
        check("shared", settings, Grouping::shared);
        check("static", settings, Grouping::staticMember);
        check("committed", settings, Grouping::committed);
        check("administered", settings, GroupAdmin::administered);
    }

    private void check(String name, Map<String, Object> settings, Body body) {
        running.execute(() -> checks.check("group-" + name,
                () -> body.run(new Group(checks, admin, name, settings).created())));
    }

    private static void aloneAndResumed(Group group) throws Exception {
        group.produce(10);
        Member first = group.join();
        Checks.equal("records", Group.read(40, first), Group.records(0, 10));
        Checks.equal("partitions", first.owned(), Set.of(0, 1, 2, 3));
        first.commit();
        first.close();
        Checks.equal("members after it has left", GroupAdmin.members(group), 0);
        group.produce(2);
        Member second = group.join();
        Checks.equal("what the second reads", Group.read(8, second), Group.records(10, 12));
        second.close();
    }

    private static void shared(Group group) throws Exception {
        Member one = group.join();
        Member two = group.join();
        group.settled("two members share", one, two);
        Checks.equal("members", GroupAdmin.members(group), 2);
        Member three = group.join();
        group.settled("three members share", one, two, three);
        group.produce(10);
        Checks.equal("read once, by its owner", Group.read(40, one, two, three), Group.records(0, 10));
        for (Member member : List.of(one, two, three)) {
            member.commit();
        }
        two.close();
        group.settled("the others take over", one, three);
        one.close();
        three.close();
    }

    private static void crashed(Group group, String protocol) throws Exception {
        if (protocol.equals("consumer")) {
            sessionOfSixSeconds(group);
        }
        Member survivor = group.join();
        Process other = another(group, protocol);
        try {
            Group.eventually("the other has its half", () -> survivor.owned().size() == 2, survivor);
            Checks.equal("members", GroupAdmin.members(group), 2);
        } finally {
            other.destroyForcibly().waitFor();
        }
        group.settled("the other is replaced", survivor);
        group.produce(1);
        Checks.equal("records", Group.read(4, survivor), Group.records(0, 1));
        survivor.close();
    }

    /** A member that is a process of its own. */
    private static Process another(Group group, String protocol) throws IOException {
        String java = System.getProperty("java.home") + "/bin/java";
        return new ProcessBuilder(java, "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                "-cp", System.getProperty("java.class.path"), "Grouping", group.checks.bootstrap, group.name, protocol)
                .redirectError(ProcessBuilder.Redirect.INHERIT).start();
    }

    /**
     * A record that its consumer died with is given up, and until it is a dead letter nobody is told the position: who
     * takes over waits for that, however long it takes, and goes on behind the record.
     */
    private static void heldBack(Group group, String protocol) throws Exception {
        if (protocol.equals("consumer")) {
            sessionOfSixSeconds(group);
        }
        // No topic is fit for its own dead letters.
        deadLettersAfterOneTry(group, group.name);
        group.produce(2);
        Process other = another(group, protocol);
        try (var said = other.inputReader()) {
            while (Integer.parseInt(said.readLine()) < 8) {
                // It has not read all yet.
            }
        } finally {
            other.destroyForcibly().waitFor();
        }
        Member next = group.join();
        group.settled("the other is replaced", next);
        TimeUnit.SECONDS.sleep(HELD_S);
        Checks.equal("what it has read", next.read(), List.of());
        deadLettersAfterOneTry(group, group.name + ".dead-letter");
        Checks.equal("behind the dead letters", Group.read(4, next), Group.records(1, 2));
        next.close();
    }

    private static void deadLettersAfterOneTry(Group group, String topic) throws Exception {
        var entries = Map.of("max.delivery.attempts", "1", "dead.letter.topic", topic).entrySet().stream()
                .map(each -> new ConfigEntry(each.getKey(), each.getValue()))
                .map(entry -> new AlterConfigOp(entry, AlterConfigOp.OpType.SET)).toList();
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, group.name);
        group.admin.incrementalAlterConfigs(Map.of(resource, entries)).all().get();
    }

    /** As short as that of the classic members here: with the server's protocol it is the group's. */
    private static void sessionOfSixSeconds(Group group) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.GROUP, group.name);
        var session = new ConfigEntry("consumer.session.timeout.ms", "6000");
        group.admin.incrementalAlterConfigs(
                Map.of(resource, List.of(new AlterConfigOp(session, AlterConfigOp.OpType.SET)))).all().get();
    }

    private static void staticMember(Group group) throws Exception {
        Member one = group.joinAs("one");
        Member two = group.joinAs("two");
        group.settled("both share", one, two);
        int rebalances = one.rebalances();
        Set<Integer> kept = one.owned();
        Set<Integer> had = two.owned();
        two.close();
        Member again = group.joinAs("two");
        group.settled("it is back", one, again);
        group.produce(1);
        Group.read(had.size(), again);
        Checks.equal("its partitions", again.owned(), had);
        Checks.equal("what the other has", one.owned(), kept);
        Checks.equal("rebalances of the other", one.rebalances(), rebalances);
        one.close();
        again.close();
    }

    private static void fenced(Group group) throws Exception {
        Member first = group.joinAs("one");
        group.settled("the first has all", first);
        Member second = group.joinAs("one");
        Group.eventually("the first is fenced", () -> first.error() != null, second);
        Checks.equal("why", first.error().getClass(), FencedInstanceIdException.class);
        group.gave(first, first.owned());
        Group.eventually("the second has all", () -> second.owned().size() == Group.PARTITIONS, second);
        second.close();
    }

    /** With the server's protocol it is the second of the same instance that is refused. */
    private static void unreleased(Group group) throws Exception {
        Member first = group.joinAs("one");
        group.settled("the first has all", first);
        Member second = group.joinAs("one");
        Group.eventually("the second is refused", () -> second.error() != null, first);
        Checks.equal("why", second.error().getClass(), UnreleasedInstanceIdException.class);
        group.settled("the first still has all", first);
        first.close();
    }

    private static void cooperative(Group group) throws Exception {
        Member one = group.join();
        group.settled("all is its own", one);
        Member two = group.join();
        group.settled("two share", one, two);
        Checks.equal("what the first has given", one.revoked(), two.owned());
        Checks.equal("what the second has given", two.revoked(), Set.of());
        one.close();
        two.close();
    }

    private static void committed(Group group) throws Exception {
        Checks.equal("offsets of a group that nobody knows", GroupAdmin.offsets(group.admin, "nobody-knows"), Map.of());
        Member member = group.join();
        group.settled("it has joined", member);
        Map<TopicPartition, OffsetAndMetadata> wanted = new TreeMap<>(GroupAdmin.BY_NUMBER);
        wanted.put(new TopicPartition(group.name, 0),
                new OffsetAndMetadata(3, Optional.of(7), "a note"));
        wanted.put(new TopicPartition(group.name, 2), new OffsetAndMetadata(0, Optional.of(0), ""));
        member.ask(consumer -> {
            consumer.commitSync(wanted);
            return null;
        });
        Checks.equal("as the admin client sees them", GroupAdmin.offsets(group.admin, group.name), wanted);
        Checks.equal("committed", member.ask(consumer -> consumer.committed(wanted.keySet())), wanted);
        member.close();
        Checks.equal("after its end", GroupAdmin.offsets(group.admin, group.name), wanted);
    }

    /** A member that says how much it has read, until its input ends, as it does when who started it is gone. */
    public static void main(String[] arguments) throws IOException {
        Group group = new Group(new Checks(arguments[0]), null, arguments[1], Map.of("group.protocol", arguments[2]));
        Member member = group.join();
        Thread saying = new Thread(() -> member.say(System.out));
        saying.setDaemon(true);
        saying.start();
        while (System.in.read() >= 0) {
            // Nothing is written to it.
        }
        Runtime.getRuntime().halt(0);
    }
}
