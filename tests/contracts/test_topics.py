import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from contracts.topics import (
    TOPICS,
    LogicalTopic,
    Writer,
    murmur2,
    partition_of,
    topic_configs,
    topic_name,
    topic_partitions,
)

pytestmark = pytest.mark.promise("P10")


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_gives_the_digests_of_kafkas_own_tests(data: bytes, digest: int) -> None:
    """Kafka's UtilsTest and this function agree, up to the sign that Java puts on 32 bits."""
    assert murmur2(data) == digest & 0xFFFFFFFF


@given(st.binary(max_size=200))
def test_murmur2_agrees_with_the_kafka_client_in_use(data: bytes) -> None:
    """Any key hashes as in aiokafka's default partitioner."""
    assert murmur2(data) == aiokafka_murmur2(data)


@given(st.text("abz09-_é😀", max_size=128), st.integers(min_value=1, max_value=500))
def test_a_binding_has_one_partition_in_range(binding_id: str, count: int) -> None:
    """The partition is the positive hash of the UTF-8 id modulo the count."""
    expected = (aiokafka_murmur2(binding_id.encode()) & 0x7FFFFFFF) % count
    assert partition_of(binding_id, count) == expected
    assert 0 <= expected < count


def test_every_logical_topic_is_described() -> None:
    """No topic lacks its description, and no two share a name."""
    assert set(TOPICS) == set(LogicalTopic)
    assert len({about.name for about in TOPICS.values()}) == len(TOPICS)


def test_names_carry_the_prefix_as_it_is() -> None:
    """The prefix of the installation stands before the name."""
    assert topic_name(LogicalTopic.STATES) == "binding.states"
    assert topic_name(LogicalTopic.JOURNAL, prefix="eu-1.") == "eu-1.unbinding.journal"


@pytest.mark.parametrize("prefix", ["a b", "ü", "x" * 240, "a/"])
def test_a_prefix_that_kafka_does_not_allow_is_refused(prefix: str) -> None:
    """The error names the setting and the rule."""
    with pytest.raises(ValueError, match=r"topics\.prefix"):
        topic_name(LogicalTopic.REQUESTS, prefix=prefix)


def test_only_holds_are_not_co_partitioned() -> None:
    """All topics have the partitions of the requests, but holds have one."""
    odd = [topic for topic in LogicalTopic if topic_partitions(topic, partitions=24) != 24]
    assert odd == [LogicalTopic.HOLDS]
    assert topic_partitions(LogicalTopic.HOLDS, partitions=24) == 1


def test_the_journal_is_compacted_and_never_deleted() -> None:
    """The journal has compaction alone, small segments and a bounded lag."""
    assert topic_configs(LogicalTopic.JOURNAL) == {
        "cleanup.policy": "compact",
        "segment.bytes": "67108864",
        "max.compaction.lag.ms": "3600000",
        "min.insync.replicas": "2",
        "unclean.leader.election.enable": "false",
    }


@pytest.mark.parametrize("topic", [LogicalTopic.DEAD_LETTERS, LogicalTopic.JOURNAL, LogicalTopic.HOLDS])
def test_compacted_topics_have_no_retention(topic: LogicalTopic) -> None:
    """What stands until somebody resolves it must not expire."""
    configs = topic_configs(topic)
    assert configs["cleanup.policy"] == "compact"
    assert "retention.ms" not in configs


@pytest.mark.parametrize(("replication", "min_insync"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
def test_min_insync_replicas_follow_replication(replication: int, min_insync: str) -> None:
    """Two copies are demanded only where losing one broker leaves two."""
    assert topic_configs(LogicalTopic.REQUESTS, replication=replication)["min.insync.replicas"] == min_insync


def test_only_the_worker_writes_what_it_vouches_for() -> None:
    """States, journal, dead letters and verdicts have one writer."""
    alone = {topic for topic, about in TOPICS.items() if about.writers == (Writer.WORKER,)}
    assert alone == {
        LogicalTopic.STATES,
        LogicalTopic.JOURNAL,
        LogicalTopic.DEAD_LETTERS,
        LogicalTopic.VERDICTS,
    }
