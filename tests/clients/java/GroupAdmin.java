import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;

/** Groups and their offsets by Kafka's own admin client. */
final class GroupAdmin {
    static final Comparator<TopicPartition> BY_NUMBER = Comparator.comparing(TopicPartition::partition);

    private GroupAdmin() {}

    private static ConsumerGroupDescription described(Group group) throws Exception {
        return group.admin.describeConsumerGroups(List.of(group.name)).all().get().get(group.name);
    }

    static int members(Group group) throws Exception {
        return described(group).members().size();
    }

    /** All that is committed in a group. */
    static Map<TopicPartition, OffsetAndMetadata> offsets(Admin admin, String group) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> sorted = new TreeMap<>(BY_NUMBER);
        sorted.putAll(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get());
        return sorted;
    }

    private static boolean listed(Group group) throws Exception {
        return group.admin.listGroups().all().get().stream().map(GroupListing::groupId)
                .anyMatch(group.name::equals);
    }

    private static void deleteOffset(Group group, TopicPartition partition) throws Exception {
        group.admin.deleteConsumerGroupOffsets(group.name, Set.of(partition)).all().get();
    }

    static void administered(Group group) throws Exception {
        Member member = group.join();
        group.settled("it has joined", member);
        Map<TopicPartition, OffsetAndMetadata> wanted = new HashMap<>();
        for (int partition = 0; partition < Group.PARTITIONS; partition++) {
            wanted.put(new TopicPartition(group.name, partition), new OffsetAndMetadata(5));
        }
        member.ask(consumer -> {
            consumer.commitSync(wanted);
            return null;
        });
        TopicPartition first = new TopicPartition(group.name, 0);
        TopicPartition second = new TopicPartition(group.name, 1);
        withMember(group, second);
        member.close();

        Checks.equal("state", described(group).groupState(), GroupState.EMPTY);
        group.admin.alterConsumerGroupOffsets(group.name, Map.of(first, new OffsetAndMetadata(8))).all().get();
        deleteOffset(group, second);
        Map<Integer, Long> left = offsets(group.admin, group.name).entrySet().stream()
                .collect(Collectors.toMap(each -> each.getKey().partition(), each -> each.getValue().offset()));
        Checks.equal("offsets", left, Map.of(0, 8L, 2, 5L, 3, 5L));
        group.admin.deleteConsumerGroups(List.of(group.name)).all().get();
        Checks.equal("whether it is listed", listed(group), false);
        Checks.equal("offsets of what is deleted", offsets(group.admin, group.name), Map.of());
        Checks.refused(GroupIdNotFoundException.class,
                () -> group.admin.deleteConsumerGroups(List.of(group.name)).all().get());
    }

    /** What is seen of a group with a member, and what is refused. */
    private static void withMember(Group group, TopicPartition partition) throws Exception {
        Checks.equal("whether it is listed", listed(group), true);
        ConsumerGroupDescription described = described(group);
        Checks.equal("state", described.groupState(), GroupState.STABLE);
        Checks.equal("partitions of its member", described.members().stream()
                .map(each -> each.assignment().topicPartitions().size()).toList(), List.of(Group.PARTITIONS));
        Checks.refused(GroupNotEmptyException.class,
                () -> group.admin.deleteConsumerGroups(List.of(group.name)).all().get());
        Checks.refused(GroupSubscribedToTopicException.class, () -> {
            deleteOffset(group, partition);
            return null;
        });
    }
}
