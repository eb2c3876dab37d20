"""What a consumer group does, the same checks for each client of Python.

Each check has a group of its own on a topic of its own, so that all run side by side. A client is given to `main`
as a class; `CAN` names what not every client is able to. Usage of its program: HOST:PORT for the classic protocol,
HOST:PORT server-side for the server's own, HOST:PORT member GROUP for a member that stays until its input ends or
it is killed.
"""

import os
import queue
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from checks import Checks, same

PARTITIONS = frozenset(range(4))
EACH = 10
WITHIN = 30.0
SESSION_MS = 6000
HEARTBEAT_MS = 500


def eventually(what, condition, *members):
    """Polls until `condition` holds; a member that failed meanwhile fails it."""
    deadline = time.monotonic() + WITHIN
    while not condition():
        for member in members:
            if member.error is not None:
                raise member.error
        if time.monotonic() > deadline:
            seen = [(sorted(member.owned), len(member.records)) for member in members]
            raise AssertionError(f"{what}: not within {WITHIN} s, members own and read {seen}")
        time.sleep(0.02)


class Member:
    """A consumer with a thread of its own, which polls all the time and does what it is asked to in between.

    `owned` is what the client's callbacks tell; `records` are (partition, offset, value).
    """

    def __init__(self, group, **settings):
        self.group, self.settings = group, settings
        self.records, self.owned, self.rebalances, self.revoked, self.error = [], frozenset(), 0, set(), None
        self._asked, self._stopped = queue.SimpleQueue(), False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def on_assigned(self, partitions):
        self.group.took(self, partitions)
        self.owned |= set(partitions)
        self.rebalances += 1

    def on_revoked(self, partitions):
        self.owned -= set(partitions)
        self.revoked |= set(partitions)
        self.group.gave(self, partitions)

    def _run(self):
        try:
            consumer = self.group.client.consumer(self.group.name, self, **self.settings)
            while not self._stopped:
                while not self._asked.empty():
                    self._answer(consumer, *self._asked.get())
                if not self._stopped:
                    self.records += consumer.poll()
        except Exception as error:  # told to who waits for this member
            self.error = error

    def _answer(self, consumer, action, answer):
        try:
            answer.set_result(action(consumer))
        except Exception as error:  # told to who asked
            answer.set_exception(error)

    def ask(self, action):
        answer = Future()
        self._asked.put((action, answer))
        eventually("what a member was asked for", answer.done, self)
        return answer.result()

    def commit(self):
        """Once more while the group is balanced, which a client may ask for of its own accord."""
        refusals = ["rebalancing"]

        def settled():
            refusals.append(self.refusal())
            return refusals[-1] != "rebalancing"

        eventually("a commit", settled, self)
        same("why it was not committed", None, refusals[-1])

    def refusal(self):
        """Commits where it has read to; the reason why not."""
        try:
            self.ask(lambda consumer: consumer.commit())
        except Exception as error:  # as the client names it
            return self.group.client.reason(error)
        return None

    def close(self):
        """Leaves the group, but for a static member."""

        def close(consumer):
            self._stopped = True
            self.group.gave(self, self.owned)
            consumer.close()

        self.ask(close)
        self._thread.join(WITHIN)

    def read(self):
        return sorted((partition, offset) for partition, offset, _ in self.records)


class Group:
    """A group and its topic, both of one name; watches that no partition has two owners."""

    def __init__(self, client, name, partitions=PARTITIONS):
        self.client, self.name, self.partitions = client, name, partitions
        self._owners, self._twice, self._lock = {}, [], threading.Lock()

    def create(self):
        self.client.create(self.name, len(self.partitions))
        eventually("its topic is known", lambda: self.client.exists(self.name))
        return self

    def join(self, **settings):
        return Member(self, **settings)

    def took(self, member, partitions):
        with self._lock:
            self._twice += [each for each in partitions if self._owners.get(each, member) is not member]
            self._owners.update({each: member for each in partitions})

    def gave(self, member, partitions):
        with self._lock:
            for each in partitions:
                if self._owners.get(each) is member:
                    del self._owners[each]

    def produce(self, count):
        """So many records to each partition."""
        self.client.produce(self.name, {each: [b"%d" % at for at in range(count)] for each in self.partitions})

    def settled(self, what, *members):
        """Waits until these members, and no other, share all partitions as evenly as can be."""
        least = len(PARTITIONS) // len(members)

        def shared():
            owned = [member.owned for member in members]
            even = all(least <= len(each) <= least + 1 for each in owned)
            return even and sum(map(len, owned)) == len(PARTITIONS) and PARTITIONS == frozenset().union(*owned)

        eventually(what, shared, *members)
        self.had_one_owner()

    def had_one_owner(self):
        same("partitions with two owners", [], self._twice)


def expected(first, end):
    return sorted((partition, offset) for partition in PARTITIONS for offset in range(first, end))


def alone_and_resumed(group, **settings):
    group.produce(EACH)
    first = group.join(**settings)
    eventually("all records", lambda: len(first.records) >= EACH * len(PARTITIONS), first)
    same("the records", expected(0, EACH), first.read())
    same("its partitions", PARTITIONS, first.owned)
    first.commit()
    first.close()
    same("the members after it has left", 0, group.client.members(group.name))
    group.produce(2)
    second = group.join(**settings)
    eventually("what is new", lambda: len(second.records) >= 2 * len(PARTITIONS), second)
    same("what the second reads", expected(EACH, EACH + 2), second.read())
    second.close()


def shared(group, **settings):
    one, two = group.join(**settings), group.join(**settings)
    group.settled("two members share", one, two)
    same("the members", 2, group.client.members(group.name))
    three = group.join(**settings)
    group.settled("three members share", one, two, three)
    group.produce(EACH)
    members = (one, two, three)
    eventually("all is read", lambda: sum(len(member.records) for member in members) >= EACH * 4, *members)
    same("read once by its owner", expected(0, EACH), sorted(sum((member.read() for member in members), [])))
    one.commit(), two.commit(), three.commit()
    two.close()
    group.settled("the others take over", one, three)
    for member in (one, three):
        member.close()


def program_of_a_member(group):
    arguments = [sys.executable, "-B", sys.argv[0], sys.argv[1], "member", group.name]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE)


def crashed(group):
    survivor = group.join()
    with program_of_a_member(group) as other:
        try:
            eventually("the other has its half", lambda: len(survivor.owned) == 2, survivor)
            eventually("both are members", lambda: group.client.members(group.name) == 2, survivor)
        finally:
            other.kill()
    group.settled("the other is replaced", survivor)
    group.produce(1)
    eventually("its partitions are read", lambda: len(survivor.records) >= len(PARTITIONS), survivor)
    same("the records", expected(0, 1), survivor.read())
    survivor.close()


def static_member(group, **settings):
    one = group.join(instance="one", **settings)
    group.settled("all is its own", one)
    two = group.join(instance="two", **settings)
    group.settled("both share", one, two)
    # Who has read has also seen all partitions: a leader that had not would join once more by itself.
    group.produce(1)
    eventually("both read", lambda: one.records and two.records, one, two)
    group.settled("both still share", one, two)
    rebalances, kept, had = one.rebalances, one.owned, two.owned
    two.close()
    again = group.join(instance="two", **settings)
    group.settled("it is back", one, again)
    group.produce(1)
    eventually("it reads", lambda: len(again.records) >= len(had), again, one)
    same("its partitions", had, again.owned)
    same("what the other has", (rebalances, kept), (one.rebalances, one.owned))
    if "fence" in group.client.CAN and not settings:
        usurper = group.join(instance="two")
        eventually("the first of the same name is fenced", lambda: again.refusal() == "fenced", usurper)
        again = usurper
    for member in (one, again):
        member.close()


def cooperative(group, **settings):
    one = group.join(**settings)
    group.settled("all is its own", one)
    two = group.join(**settings)
    group.settled("two share", one, two)
    same("revoked is what the other has now, and no more", two.owned, one.revoked)
    same("revoked from who came", set(), two.revoked)
    for member in (one, two):
        member.close()


def exclusive(group):
    """Two partitions, three members: two own one each, and who has none takes over when an owner dies."""
    client, name = group.client, group.name
    client.make_exclusive(name)

    def joined(count):
        return client.members(name) == count and client.state(name) == "stable"

    with program_of_a_member(group) as other:
        try:
            eventually("the other is there", lambda: joined(1))
            members = group.join(), group.join()
            eventually("all three are", lambda: joined(3), *members)
            owned = lambda: sorted(len(member.owned) for member in members)
            eventually("one owns what the other leaves, one stands by", lambda: owned() == [0, 1], *members)
        finally:
            other.kill()
    eventually("who stood by takes over", lambda: owned() == [1, 1], *members)
    same("all partitions", group.partitions, members[0].owned | members[1].owned)
    group.had_one_owner()
    group.produce(EACH)
    eventually("all is read", lambda: all(len(member.records) >= EACH for member in members), *members)
    for member in members:
        member.commit()
    # Not before all have: what the first leaves moves to the other, whose client then forgets what it has read.
    for member in members:
        member.close()


def made_exclusive(group, **settings):
    """A group that runs while it is made exclusive: what moves has one owner at a time."""
    one, two = group.join(**settings), group.join(**settings)
    group.settled("both share", one, two)
    group.client.make_exclusive(group.name)
    three = group.join(**settings)
    members = (one, two, three)
    eventually("each owns one", lambda: [len(member.owned) for member in members] == [1, 1, 1], *members)
    same("partitions that are owned", 3, len(one.owned | two.owned | three.owned))
    group.had_one_owner()
    for member in members:
        member.close()


exclusive.partitions = frozenset(range(2))


def committed(group):
    client = group.client
    same("offsets of a group that nobody knows", {}, client.offsets("nobody-knows"))
    member = group.join()
    group.settled("it has joined", member)
    wanted = {0: (3, "a note", 7), 2: (0, "", 0)}
    member.ask(lambda consumer: consumer.commit(wanted))
    if "epochs" not in client.CAN:
        wanted = {partition: (offset, note, None) for partition, (offset, note, _) in wanted.items()}
    same("committed", wanted, member.ask(lambda consumer: consumer.committed([0, 1, 2])))
    same("as the admin client sees them", wanted, client.offsets(group.name))
    member.close()
    same("after its end", wanted, client.offsets(group.name))


def administered(group):
    client, name = group.client, group.name
    member = group.join()
    group.settled("it has joined", member)
    member.ask(lambda consumer: consumer.commit({each: (5, "", 0) for each in PARTITIONS}))
    same("whether it is listed", True, name in client.groups())
    same("state and members", ("stable", 1), (client.state(name), client.members(name)))
    if "delete-groups" in client.CAN:
        same("deleted with a member", "non-empty", client.delete(name))
    if "delete-offsets" in client.CAN:
        same("offsets deleted of what it reads", "subscribed", client.delete_offset(name, 1))
    member.close()
    same("state and members", ("empty", 0), (client.state(name), client.members(name)))
    offsets = {each: 5 for each in PARTITIONS}
    if "alter-offsets" in client.CAN:
        client.alter(name, {0: 8})
        offsets[0] = 8
    if "delete-offsets" in client.CAN:
        same("an offset deleted", None, client.delete_offset(name, 1))
        del offsets[1]
    same("offsets", offsets, {each: offset for each, (offset, _, _) in client.offsets(name).items()})
    if "delete-groups" in client.CAN:
        same("deleted", None, client.delete(name))
        same("whether it is listed", False, name in client.groups())
        same("offsets of what is deleted", {}, client.offsets(name))
        same("deleted again", "not found", client.delete(name))


def classic(client):
    """Name, check and settings of its members."""
    yield from [
        ("alone-and-resumed", alone_and_resumed, {}),
        ("shared", shared, {}),
        ("crashed", crashed, {}),
        ("static-member", static_member, {}),
        ("committed", committed, {}),
        ("administered", administered, {}),
    ]
    if "exclusive" in client.CAN:
        yield "exclusive", exclusive, {}
        yield "made-exclusive", made_exclusive, {}
    if {"cooperative", "exclusive"} <= client.CAN:
        yield "cooperative-made-exclusive", made_exclusive, {"cooperative": True}
    if "cooperative" in client.CAN:
        yield "cooperative", cooperative, {"cooperative": True}
        yield "cooperative-shared", shared, {"cooperative": True}


def server_side(_client):
    for check in (alone_and_resumed, shared, static_member, cooperative):
        yield "server-side-" + check.__name__.replace("_", "-"), check, {"server_side": True}


def stay(client, name):
    """A member until its input ends, as it does when the program that started it is gone."""
    member = Group(client, name).join()
    sys.stdin.read()
    os._exit(0 if member.error is None else 1)


def in_a_group(client, name, check, settings):
    check(Group(client, name, getattr(check, "partitions", PARTITIONS)).create(), **settings)


def main(kind):
    client, what = kind(sys.argv[1]), sys.argv[2:]
    if what[:1] == ["member"]:
        stay(client, what[1])
    chosen = server_side if what == ["server-side"] else classic
    checks = Checks()
    with ThreadPoolExecutor(max_workers=4) as pool:
        running = [
            (name, pool.submit(in_a_group, client, name, check, settings))
            for name, check, settings in chosen(client)
        ]
        for name, future in running:
            checks.run(f"group-{name}", future.result)
    checks.end()
