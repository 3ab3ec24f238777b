"""A cluster of several nodes as A, one node as B: all are used, one dies, one joins, one leaves, under load.

Five nodes are too many for the gate's machine: part of `integration/test --all`.
"""

import contextlib
import time

import pytest
from cassandra import ConsistencyLevel

from checker import check, make_schema
from clusters import Node
from load import KEYSPACE, Load

ADDRESSES = {f"d{number}": f"127.0.0.1{3 + number}" for number in range(1, 5)}
LEAVES_SECONDS_MAX = 120

pytestmark = pytest.mark.large


@pytest.fixture(scope="module")
def many():
    """Three nodes that are one cluster, every row on all three, and a fourth that nobody has started."""
    nodes = {
        name: Node(name, address, consistency=ConsistencyLevel.ALL) for name, address in ADDRESSES.items()
    }
    with contextlib.ExitStack() as stack:
        for node in nodes.values():
            stack.callback(node.stop)
        for name in ("d1", "d2", "d3"):
            nodes[name].start("--fresh")
        nodes["d1"].execute(
            f"CREATE KEYSPACE {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 3}}"
        )
        yield nodes


def executed(node):
    """Requests that the node took from the proxy's data plane, over the connections that there are."""
    text = "SELECT request_count, username FROM system_views.clients"
    rows = node.execute(text)
    return sum(row.request_count for row in rows)


def used(nodes, seconds=2.0):
    """Which nodes take clearly more requests than our own questions."""
    before = [executed(node) for node in nodes]
    time.sleep(seconds)
    return [node.name for node, count in zip(nodes, before) if 20 < executed(node) - count]


def wait_used(nodes, wanted, seconds=40):
    deadline = time.monotonic() + seconds
    while (seen := used(nodes)) != wanted:
        assert time.monotonic() < deadline, f"used are {seen}, not {wanted}"


def test_nodes_die_join_and_leave_under_load(b, many, start_proxy, tell):
    d1, d2, d3, d4 = many.values()
    make_schema(d1, b)
    proxy = start_proxy(a=d1, b=b)
    proxy.wait_ready()
    with Load(proxy.port, rate=60, consistency=ConsistencyLevel.QUORUM) as load:
        wait_used([d1, d2, d3], ["d1", "d2", "d3"])
        tell("all three nodes are used, of one contact point")

        d2.kill()
        wait_used([d1, d3], ["d1", "d3"])
        time.sleep(3)
        status = proxy.status()["clusters"]["A"]
        assert status["state"] == "closed", "one node of three is no outage"
        d2.start()
        wait_used([d1, d2, d3], ["d1", "d2", "d3"])
        tell("one died and came back, no breaker opened")

        d4.start("--fresh")
        wait_used([d1, d2, d3, d4], ["d1", "d2", "d3", "d4"], 90)
        tell("a fourth joined and is used")

        # The contact point itself: what the proxy knows of the others must be enough.
        d1.close()
        d1.nodetool("decommission")
        wait_used([d2, d3, d4], ["d2", "d3", "d4"])
        d1.stop()
        time.sleep(3)
        assert proxy.status()["clusters"]["A"]["state"] == "closed"
        tell("the contact point left")
    writes, reads = load.log.errors("write"), load.log.errors("read")
    assert [error.error for error in writes + reads] == []
    drained = proxy.wait_drained(60)
    report = check(d2, b, load.log)
    tell(f"drained in {drained:.1f} s; {report}")
    assert proxy.status()["replay"]["dead_letters"] == 0
