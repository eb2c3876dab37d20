import static org.apache.kafka.clients.admin.AlterConfigOp.OpType.DELETE;
import static org.apache.kafka.clients.admin.AlterConfigOp.OpType.SET;

import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Topics, their configs and their offsets by Kafka's own admin client. */
final class Administering {
    private static final String TOPIC = "administered";
    private static final TopicPartition PARTITION = new TopicPartition(TOPIC, 0);
    private static final ConfigResource CONFIGS = new ConfigResource(ConfigResource.Type.TOPIC, TOPIC);

    private final Checks checks;
    private final Admin admin;

    private Administering(Checks checks, Admin admin) {
        this.checks = checks;
        this.admin = admin;
    }

    static void run(Checks checks) {
        try (Admin admin = Records.admin(checks)) {
            Administering all = new Administering(checks, admin);
            all.topics();
            all.describing();
            all.configs();
            all.offsets();
            checks.check("delete-topic", () -> {
                admin.deleteTopics(List.of(TOPIC)).all().get();
                Checks.equal("listed", admin.listTopics().names().get().contains(TOPIC), false);
                Checks.refused(UnknownTopicOrPartitionException.class,
                        () -> admin.deleteTopics(List.of(TOPIC)).all().get());
            });
        }
    }

    private void topics() {
        NewTopic topic = new NewTopic(TOPIC, 2, (short) 1).configs(Map.of("retention.ms", "604800001"));
        checks.check("create-topic", () -> {
            admin.createTopics(List.of(topic)).all().get();
            Checks.equal("listed", admin.listTopics().names().get().contains(TOPIC), true);
        });
        checks.check("create-existing-topic", () -> Checks.refused(
                TopicExistsException.class, () -> admin.createTopics(List.of(topic)).all().get()));
        checks.check("create-with-unknown-config", () -> {
            NewTopic wrong = new NewTopic("refused", 1, (short) 1).configs(Map.of("no.such.key", "1"));
            Checks.refused(InvalidConfigurationException.class,
                    () -> admin.createTopics(List.of(wrong)).all().get());
        });
        checks.check("add-partitions", () -> {
            admin.createPartitions(Map.of(TOPIC, NewPartitions.increaseTo(5))).all().get();
            var described = admin.describeTopics(List.of(TOPIC)).allTopicNames().get().get(TOPIC);
            Checks.equal("partitions", described.partitions().size(), 5);
        });
    }

    private void describing() {
        checks.check("describe-cluster", () -> {
            var cluster = admin.describeCluster();
            Checks.equal("nodes", cluster.nodes().get().size(), 1);
            Checks.equal("an id", cluster.clusterId().get().isEmpty(), false);
        });
        checks.check("describe-by-id", () -> {
            var id = admin.describeTopics(List.of(TOPIC)).allTopicNames().get().get(TOPIC).topicId();
            var asked = TopicCollection.ofTopicIds(List.of(id));
            Checks.equal("name", admin.describeTopics(asked).allTopicIds().get().get(id).name(), TOPIC);
        });
        checks.check("describe-unknown-topic", () -> Checks.refused(
                UnknownTopicOrPartitionException.class,
                () -> admin.describeTopics(List.of("no-such-topic")).allTopicNames().get()));
    }

    private String config(String key) throws Exception {
        return admin.describeConfigs(List.of(CONFIGS)).all().get().get(CONFIGS).get(key).value();
    }

    private Void alter(AlterConfigOp.OpType operation, String key, String value) throws Exception {
        var change = new AlterConfigOp(new ConfigEntry(key, value), operation);
        return admin.incrementalAlterConfigs(Map.of(CONFIGS, List.of(change))).all().get();
    }

    private void configs() {
        checks.check("describe-configs", () -> Checks.equal("retention.ms", config("retention.ms"), "604800001"));
        checks.check("alter-configs", () -> {
            alter(SET, "segment.bytes", "2097152");
            Checks.equal("segment.bytes", config("segment.bytes"), "2097152");
            Checks.equal("retention.ms", config("retention.ms"), "604800001");
        });
        checks.check("delete-config", () -> {
            alter(DELETE, "retention.ms", null);
            Checks.equal("retention.ms", config("retention.ms"), "604800000");
        });
        checks.check("alter-unknown-config", () -> Checks.refused(
                InvalidConfigurationException.class, () -> alter(SET, "no.such.key", "1")));
    }

    private void offset(String kind, OffsetSpec spec, long want) throws Exception {
        Checks.equal(kind, admin.listOffsets(Map.of(PARTITION, spec)).all().get().get(PARTITION).offset(), want);
    }

    private void offsets() {
        long start = System.currentTimeMillis() - 100_000;
        checks.check("list-offsets", () -> {
            // The newest record is written first.
            Records.produce(checks, Records.samples(TOPIC, 1, start + 5000, 10), Map.of());
            Records.produce(checks, Records.samples(TOPIC, 99, start, 10), Map.of());
            offset("earliest", OffsetSpec.earliest(), 0);
            offset("earliest local", OffsetSpec.earliestLocal(), 0);
            offset("latest", OffsetSpec.latest(), 100);
            offset("max timestamp", OffsetSpec.maxTimestamp(), 0);
            offset("by time", OffsetSpec.forTimestamp(start + 305), 0);
            offset("by a later time", OffsetSpec.forTimestamp(start + 5001), -1);
        });
        checks.check("delete-records", () -> {
            var deleted = admin.deleteRecords(Map.of(PARTITION, RecordsToDelete.beforeOffset(40)));
            Checks.equal("low", deleted.lowWatermarks().get(PARTITION).get().lowWatermark(), 40L);
            offset("earliest", OffsetSpec.earliest(), 40);
            // Now that the newest is gone, the time decides among the others.
            offset("by time", OffsetSpec.forTimestamp(start + 500), 51);
        });
    }
}
