"""The pieces of a contestant's process that need no Kafka."""

from pathlib import Path

from worker.bench.errand import Contestant, Errand, Report
from worker.bench.meter import Meter, Tally
from worker.bench.sampling import area_of, sampling


def test_an_errand_survives_the_command_line() -> None:
    """A child reads exactly what it was told."""
    errand = Errand(
        contestant=Contestant.OURS,
        bootstrap_servers="127.0.0.1:9092",
        prefix="bench-1.",
        partitions=12,
        warm_up=64,
        sagas=2_000,
        in_flight=256,
        base_url="http://127.0.0.1:8080",
        client_key=Path("/tmp/client.key.pem"),  # noqa: S108 - a name, no file
        hub_public_key=Path("/tmp/hub.pub.pem"),  # noqa: S108 - a name, no file
        settings_file=Path("/tmp/worker.toml"),  # noqa: S108 - a name, no file
        sampled=True,
    )
    assert Errand.from_json(errand.to_json()) == errand


def test_a_report_survives_the_pipe() -> None:
    """A parent reads exactly what the child measured."""
    report = Report(cpu_s=1.5, system_s=0.5, wall_s=2.0, ended=3, areas={"HTTP": 2}, functions={"a.b": 1})
    assert Report.from_json(report.to_json()) == report


def test_the_warm_up_is_not_measured() -> None:
    """The tally is warm after its warm-up, done after all, and counts only what came after the warm-up."""
    tally = Tally(warm_up=2, sagas=3)
    seen = []
    for _ in range(5):
        tally.ended()
        seen.append((tally.warm.is_set(), tally.done.is_set(), tally.measured))
    assert seen == [
        (False, False, -1),
        (True, False, 0),
        (True, False, 1),
        (True, False, 2),
        (True, True, 3),
    ]


def test_other_things_can_be_waited_for_before_the_warm_up_ends() -> None:
    """Opened shards put the end of the warm-up off, and do not count as sagas."""
    tally = Tally(warm_up=1, sagas=1)
    tally.before_warm(2)
    for _ in range(3):
        assert not tally.warm.is_set()
        tally.ended()
    assert tally.warm.is_set()
    assert tally.measured == 0


def test_the_innermost_known_module_names_the_area() -> None:
    """A module counts for the area that its package stands in; an unknown one for none."""
    assert area_of("worker.signing.keys") == "signing and verifying"
    assert area_of("worker.shard.vault") == "sealing and fingerprints"
    assert area_of("worker.shard.shard") == "shard"
    assert area_of("aiokafka.producer.sender") == "Kafka"
    assert area_of("asyncio_extras") is None
    assert area_of("json.encoder") is None


def test_sampling_finds_the_module_that_burns_cpu() -> None:
    """User time spent in a room of ours is found there."""
    from contracts.topics import murmur2  # noqa: PLC0415 - what is burnt

    with sampling() as samples:
        before = Meter.read()
        while sum(samples.areas.values()) < 20 and Meter.read().since(before).cpu_s < 10:
            for _ in range(1_000):
                murmur2(b"binding-1234567890")
    assert samples.areas["contracts"] > sum(samples.areas.values()) / 2
    assert "contracts.topics.murmur2" in samples.functions
