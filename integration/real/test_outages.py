"""One cluster, or the proxy, goes away under load; when it is back, nothing may be missing.

T1: the target is down at the start, during and after. T2: it takes connections and never answers. T15: the proxy
is killed between an acknowledgement and the drain.
"""

import time

import pytest
from cassandra.cluster import NoHostAvailable
from cassandra.protocol import OverloadedErrorMessage

from checker import check
from load import KEYSPACE, KINDS, Load, Log

WRITE_TIMEOUT = 1.5
READ_TIMEOUT = 10.0
FAILOVER_AFTER = 1.0
# The proxy's own threshold of a breaker.
STRIKES_MAX = 3
# Two busy cores, two JVMs, and a Python client that measures: what is not the proxy's.
SLACK = 1.5
DRAIN_SECONDS_MAX = 60
RSS_GROWTH_MIB_MAX = 64


def settle(proxy, a, b, log, tell, **options):
    """The end of every story: drained in the stated time, both clusters equal, deadlines kept."""
    drained = proxy.wait_drained(DRAIN_SECONDS_MAX)
    report = check(a, b, log, **options)
    tell(f"drained in {drained:.1f} s; {report}")
    assert proxy.status()["replay"]["dead_letters"] == 0
    assert log.latencies("write").worst <= WRITE_TIMEOUT + SLACK
    assert log.latencies("read").worst <= READ_TIMEOUT + SLACK


def no_errors(log, kind, since=0.0):
    assert [error.error for error in log.errors(kind, since)] == []


def test_without_any_fault_both_are_equal(a, b, start_proxy, tell):
    proxy = start_proxy()
    with Load(proxy.port) as load:
        time.sleep(6)
    no_errors(load.log, "write")
    no_errors(load.log, "read")
    assert proxy.owed() == 0
    settle(proxy, a, b, load.log, tell)


def test_t1_b_killed_and_restarted_under_load(a, b, start_proxy, tell):
    proxy = start_proxy()
    with Load(proxy.port) as load:
        time.sleep(3)
        b.kill()
        killed = time.monotonic()
        proxy.wait_cluster("B", lambda it: it["state"] == "open", 10)
        opened = time.monotonic()
        time.sleep(5)
        closing = time.monotonic()
        assert 0 < proxy.status()["replay"]["owed"]["B"]
        assert proxy.status()["clusters"]["B"]["behind"]
        assert proxy.ready()
        b.start()
        proxy.wait_cluster("B", lambda it: it["state"] == "closed", 30)
        time.sleep(3)
    tell(f"before: {load.log.latencies('write', until=killed)}")
    tell(f"B away: {load.log.latencies('write', opened, closing)}")
    no_errors(load.log, "write")
    no_errors(load.log, "read")
    settle(proxy, a, b, load.log, tell)


def test_t2_b_stopped_for_20_s_answers_nothing_and_costs_nothing(a, b, start_proxy, tell):
    proxy = start_proxy()
    with Load(proxy.port) as load:
        time.sleep(4)
        resting = proxy.rss_mib()
        b.pause()
        paused = time.monotonic()
        opening = proxy.wait_cluster("B", lambda it: it["state"] == "open", 10)
        opened = time.monotonic()
        time.sleep(20 - (opened - paused))
        resumed = time.monotonic()
        b.resume()
        proxy.wait_cluster("B", lambda it: it["state"] == "closed", 30)
        time.sleep(3)
        grown = proxy.rss_mib() - resting
    tell(f"breaker open after {opening:.1f} s, RSS {resting:.0f} MiB and {grown:+.0f} MiB")
    tell(f"before: {load.log.latencies('write', until=paused)}")
    tell(f"until the breaker opened: {load.log.latencies('write', paused, opened)}")
    tell(f"breaker open: {load.log.latencies('write', opened, resumed)}")
    no_errors(load.log, "write")
    no_errors(load.log, "read")
    assert grown <= RSS_GROWTH_MIB_MAX
    # Nobody waits for B any more: far below its deadline.
    assert load.log.latencies("write", opened, resumed).at(0.99) < WRITE_TIMEOUT / 2
    settle(proxy, a, b, load.log, tell)


def test_t15_proxy_killed_while_b_is_down(a, b, start_proxy, tell):
    proxy = start_proxy()
    with Load(proxy.port) as load:
        time.sleep(2)
        b.kill()
        proxy.wait_cluster("B", lambda it: it["state"] == "open", 10)
        time.sleep(3)
        proxy.kill()
        time.sleep(0.5)
        proxy.start()
        proxy.wait_ready()
        restarted = time.monotonic()
        assert 0 < proxy.status()["replay"]["owed"]["B"]
        time.sleep(4)
        b.start()
        time.sleep(3)
    no_errors(load.log, "write", since=restarted + 2)
    settle(proxy, a, b, load.log, tell)


@pytest.mark.parametrize("times", [3])
def test_t15_proxy_killed_again_and_again_while_b_is_down(a, b, start_proxy, tell, times):
    proxy = start_proxy()
    with Load(proxy.port, rate=60) as load:
        time.sleep(1)
        b.kill()
        for _ in range(times):
            proxy.wait_cluster("B", lambda it: it["state"] == "open", 20)
            time.sleep(1.5)
            proxy.kill()
            proxy.start()
        time.sleep(2)
        b.start()
        time.sleep(2)
    settle(proxy, a, b, load.log, tell)


def test_proxy_killed_with_both_up_leaves_nothing_one_sided_if_all_is_journalled(a, b, start_proxy, tell):
    proxy = start_proxy(writes={"journal": "always"})
    with Load(proxy.port, rate=60) as load:
        for _ in range(3):
            time.sleep(2)
            proxy.kill()
            proxy.start()
        time.sleep(2)
    # A side that missed a write which nobody acknowledged may be read before the replay reached it.
    settle(proxy, a, b, load.log, tell)


def test_proxy_stopped_in_order_under_load(a, b, start_proxy, tell):
    proxy = start_proxy()
    with Load(proxy.port) as load:
        time.sleep(2)
        assert proxy.stop() == 0
        proxy.start()
        time.sleep(2)
    settle(proxy, a, b, load.log, tell)


def test_t1_b_missing_at_start(a, b, start_proxy, tell):
    b.stop()
    proxy = start_proxy()
    proxy.wait_ready()
    with Load(proxy.port) as load:
        time.sleep(5)
        assert 0 < proxy.status()["replay"]["owed"]["B"]
        b.start()
        proxy.wait_cluster("B", lambda it: it["connected"], 60)
        time.sleep(3)
    no_errors(load.log, "write")
    no_errors(load.log, "read")
    settle(proxy, a, b, load.log, tell)


def test_a_missing_at_start(a, b, start_proxy, tell):
    a.stop()
    proxy = start_proxy()
    proxy.wait_ready()
    with Load(proxy.port) as load:
        time.sleep(5)
        a.start()
        proxy.wait_cluster("A", lambda it: it["connected"], 60)
        time.sleep(3)
    no_errors(load.log, "write")
    no_errors(load.log, "read")
    settle(proxy, a, b, load.log, tell)


def test_the_preferred_cluster_killed_under_reads(a, b, start_proxy, tell):
    proxy = start_proxy(reads={"preferred": "A"})
    with Load(proxy.port, reads=0.8) as load:
        time.sleep(3)
        a.kill()
        killed = time.monotonic()
        time.sleep(6)
        back = time.monotonic()
        a.start()
        time.sleep(4)
    first = load.log.errors("read", killed)
    tell(f"read errors after the kill: {len(first)}; reads: {load.log.latencies('read', killed, back)}")
    no_errors(load.log, "read", since=killed + 1)
    assert len(first) <= len(load.streams), "each stream may see one failover at most"
    no_errors(load.log, "write")
    settle(proxy, a, b, load.log, tell)


def test_the_preferred_cluster_stopped_under_point_reads(a, b, start_proxy, connect, tell):
    """No write strikes for them: the silence that three reads met must be enough."""
    proxy = start_proxy(reads={"preferred": "A"})
    session = connect(proxy)
    log = Log()
    session.execute(f"INSERT INTO {KEYSPACE}.cells (id, v) VALUES ('stopped', 'there')")
    log.wrote("stopped", "there")
    read = session.prepare(f"SELECT v FROM {KEYSPACE}.cells WHERE id = ?")
    seconds = []
    a.pause()
    try:
        for _ in range(30):
            started = time.monotonic()
            assert session.execute(read, ("stopped",)).one().v == "there"
            seconds.append(time.monotonic() - started)
    finally:
        a.resume()
    waited = sum(FAILOVER_AFTER / 2 < each for each in seconds)
    tell(f"{waited} of {len(seconds)} reads waited for the stopped cluster, the longest {max(seconds):.2f} s")
    assert waited <= STRIKES_MAX
    proxy.wait_cluster("A", lambda it: it["state"] == "closed", 30)
    check(a, b, log)


def test_t1_each_cluster_away_once(a, b, start_proxy, tell):
    """First B, then, drained, A: what only one of them saw must cross both ways."""
    proxy = start_proxy()
    with Load(proxy.port) as load:
        for node in (b, a):
            time.sleep(1)
            node.kill()
            time.sleep(3)
            node.start()
            proxy.wait_drained(DRAIN_SECONDS_MAX)
    settle(proxy, a, b, load.log, tell)


def test_both_down_is_overloaded_and_not_ready(a, b, start_proxy, connect, tell):
    proxy = start_proxy()
    session = connect(proxy)
    insert = session.prepare(f"INSERT INTO {KEYSPACE}.cells (id, v) VALUES (?, ?)")
    session.execute(insert, ("both-down", "before"))
    with Load(proxy.port) as load:
        time.sleep(1)
        killed = time.monotonic()
        a.kill()
        # These writes only B has; A, which comes back first, owes them and is the only one to read.
        time.sleep(0.5)
        b.kill()
        for side in ("A", "B"):
            proxy.wait_cluster(side, lambda it: not it["connected"] or it["state"] != "closed", 20)
        time.sleep(3)
        with pytest.raises(NoHostAvailable) as refused:
            session.execute(insert, ("both-down", "during"))
        assert all(isinstance(error, OverloadedErrorMessage) for error in refused.value.errors.values()), refused.value
        assert not proxy.ready()
        assert proxy.get("/health/live")[0] == 200
        a.start("--no-wait")
        b.start()
        a.start()
        proxy.wait_ready(60)
        proxy.wait_drained(DRAIN_SECONDS_MAX)
        fresh = time.monotonic()
        time.sleep(3)
    stale = sum(killed <= started < fresh for started, _ in load.log.stale)
    counted = proxy.metric("helix_reads_behind_total")
    tell(f"{stale} values read were stale while the only healthy cluster was behind; {counted:.0f} such reads counted")
    assert not stale or counted
    settle(proxy, a, b, load.log, tell, stale_between=(killed, fresh))


def test_both_absent_at_start(a, b, start_proxy):
    a.stop()
    b.stop()
    proxy = start_proxy()
    assert proxy.get("/health/live")[0] == 200
    assert not proxy.ready()
    a.start()
    proxy.wait_ready(60)
    b.start()


def test_ack_all_refuses_what_one_side_missed_and_still_makes_them_equal(a, b, start_proxy, tell):
    proxy = start_proxy(writes={"ack": "all"})
    kinds = {kind: weight for kind, weight in KINDS.items() if kind != "contended"}
    with Load(proxy.port, kinds=kinds) as load:
        time.sleep(2)
        b.kill()
        killed = time.monotonic()
        time.sleep(3)
        b.start()
        proxy.wait_cluster("B", lambda it: it["state"] == "closed", 60)
        time.sleep(2)
    # From a second after the kill until its return no write can have been on both.
    acked = [r for r in load.log.requests if r.kind == "write" and not r.error and killed + 1 < r.started < killed + 2.5]
    assert acked == []
    settle(proxy, a, b, load.log, tell)
