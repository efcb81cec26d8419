import struct
from pathlib import Path

from worker.sandbox.kafka_config import ClusterPlan, NodePorts, as_text, node_properties
from worker.sandbox.kafka_probe import broker_ids, metadata_request

ONE = (NodePorts(clients=20_001, controller=20_002, users=20_003),)
THREE = tuple(NodePorts(clients=n + 1, controller=n + 2, users=n + 3) for n in (20_000, 21_000, 22_000))


def test_everything_listens_on_this_machine_only() -> None:
    """No listener, advertised or not, and no voter has any address but 127.0.0.1."""
    plan = ClusterPlan(cluster_id="c", ports=THREE, users={"ann": "pass"})
    properties = node_properties(plan, node_id=2, data=Path("data"))
    listed = [properties[name] for name in ("listeners", "advertised.listeners", "controller.quorum.voters")]
    addresses = [address for line in listed for address in line.split(",")]
    assert len(addresses) == 3 + 2 + 3
    assert all("//127.0.0.1:" in address or "@127.0.0.1:" in address for address in addresses)


def test_three_brokers_keep_three_copies_and_ask_for_two() -> None:
    """Replication follows the number of brokers, so that one may fail."""
    properties = node_properties(ClusterPlan(cluster_id="c", ports=THREE), node_id=3, data=Path("data"))
    assert properties["node.id"] == "3"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:20002,2@127.0.0.1:21002,3@127.0.0.1:22002"
    assert properties["transaction.state.log.replication.factor"] == "3"
    assert properties["transaction.state.log.min.isr"] == "2"
    assert properties["min.insync.replicas"] == "2"


def test_given_properties_win() -> None:
    """What a caller gives overrides what is built."""
    plan = ClusterPlan(cluster_id="c", ports=ONE, properties={"auto.create.topics.enable": "true"})
    assert node_properties(plan, node_id=1, data=Path("data"))["auto.create.topics.enable"] == "true"


def test_users_get_a_listener_of_their_own() -> None:
    """Without users there is no SASL anywhere; with them the plain listener stays as it is."""
    without = node_properties(ClusterPlan(cluster_id="c", ports=ONE), node_id=1, data=Path("data"))
    plan = ClusterPlan(cluster_id="c", ports=ONE, users={"ann": "pass"})
    with_users = node_properties(plan, node_id=1, data=Path("data"))
    assert not [name for name in without if "sasl" in name]
    assert "PLAINTEXT://127.0.0.1:20001" in with_users["listeners"]
    assert "USERS://127.0.0.1:20003" in with_users["advertised.listeners"]
    assert 'user_ann="pass"' in with_users["listener.name.users.plain.sasl.jaas.config"]


def test_a_plan_does_not_show_its_passwords() -> None:
    """The representation of a plan carries no password."""
    plan = ClusterPlan(cluster_id="c", ports=ONE, users={"ann": "much-secret"})
    assert "much-secret" not in repr(plan)


def test_a_value_cannot_begin_another_property() -> None:
    """Line ends and backslashes in a value are escaped."""
    assert as_text({"b": "x\ny=z", "a": "c:\\d"}) == "a=c:\\\\d\nb=x\\ny=z\n"


def test_the_probe_asks_for_no_topic() -> None:
    """The request is one framed Metadata request, version 1, with an empty list of topics."""
    request = metadata_request()
    assert struct.unpack_from(">ihh", request) == (len(request) - 4, 3, 1)
    assert request[-4:] == bytes(4)


def test_the_probe_reads_the_brokers_of_an_answer() -> None:
    """Ids are found behind hosts of any length, with and without a rack."""
    with_rack = struct.pack(">ih4sih1s", 7, 4, b"host", 9092, 1, b"r")
    without_rack = struct.pack(">ih9sih", 1, 9, b"127.0.0.1", 9092, -1)
    answer = struct.pack(">ii", 1, 2) + with_rack + without_rack + bytes(8)
    assert broker_ids(answer) == {1, 7}
