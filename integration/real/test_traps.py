"""Traps of the wire that others fell into, on real clusters; those that need an odd node are in `fakes/test_traps.py`."""

import concurrent.futures
import time

import pytest
from cassandra import InvalidRequest

from load import KEYSPACE

MEBIBYTE = 1 << 20
LARGE_ROWS = 70
QUOTED = "QuotedKeyspace"


def test_t8_the_schema_is_agreed_on_once_ddl_is_answered(a, b, start_proxy, connect, tell):
    session = connect(start_proxy())
    seconds = []
    for text in (
        f"CREATE TABLE {KEYSPACE}.t8 (k int PRIMARY KEY, v text)",
        f"ALTER TABLE {KEYSPACE}.t8 ADD w text",
        f"CREATE INDEX ON {KEYSPACE}.t8 (w)",
        f"DROP TABLE {KEYSPACE}.t8",
    ):
        started = time.monotonic()
        asked = session.execute_async(text)
        asked.result()
        # The driver has compared the versions of all nodes by now, and waits for 10 s if they differ.
        assert asked.is_schema_agreed
        seconds.append(time.monotonic() - started)
    tell(f"DDL and agreement took {', '.join(f'{it:.2f} s' for it in seconds)}")


@pytest.mark.parametrize("version", [4, 5])
def test_t9_use_of_a_quoted_name_then_prepare(a, b, start_proxy, connect, version):
    proxy = start_proxy(protocol_max="v5")
    session = connect(proxy, protocol_version=version)
    for node in (a, b):
        node.execute(f'DROP KEYSPACE IF EXISTS "{QUOTED}"')
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    session.execute(f'CREATE KEYSPACE "{QUOTED}" WITH replication = {replication}')
    session.execute(f'CREATE TABLE "{QUOTED}"."T" (k int PRIMARY KEY, v text)')
    session.execute(f'USE "{QUOTED}"')
    insert = session.prepare('INSERT INTO "T" (k, v) VALUES (?, ?)')
    session.execute(insert, (1, "one"))
    assert session.execute('SELECT v FROM "T" WHERE k = 1').one().v == "one"
    for node in (a, b):
        assert node.execute(f'SELECT v FROM "{QUOTED}"."T" WHERE k = 1').one().v == "one"
    # Nobody else's connection is in that keyspace.
    other = connect(proxy, protocol_version=version)
    with pytest.raises(InvalidRequest):
        other.execute('SELECT v FROM "T" WHERE k = 1')
    session.execute(f'DROP KEYSPACE "{QUOTED}"')


def test_t11_rows_of_a_mebibyte(a, b, start_proxy, connect, tell):
    # How fast two nodes on few cores take them is not the point.
    patient = {"timeout": "30s"}
    session = connect(start_proxy(writes=patient, reads=patient), request_timeout=60)
    insert = session.prepare(f"INSERT INTO {KEYSPACE}.cells (id, v) VALUES (?, ?)")
    select = session.prepare(f"SELECT v FROM {KEYSPACE}.cells WHERE id = ?")

    def row(number):
        return f"t11-{number}", f"{number:02}" * (MEBIBYTE // 2)

    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda it: session.execute(insert, row(it)), range(LARGE_ROWS)))
        written = time.monotonic()
        found = list(pool.map(lambda it: session.execute(select, row(it)[:1]).one().v == row(it)[1], range(LARGE_ROWS)))
    tell(f"{LARGE_ROWS} rows of 1 MiB: written in {written - started:.1f} s, read in {time.monotonic() - written:.1f} s")
    assert all(found)
    for node in (a, b):
        for number in range(0, LARGE_ROWS, 10):
            key, value = row(number)
            assert node.execute(f"SELECT v FROM {KEYSPACE}.cells WHERE id = %s", (key,)).one().v == value


def test_t17_all_proxies_are_in_one_datacenter_and_each_stays_who_it_is(start_proxy, connect):
    asked = "SELECT host_id, data_center FROM system.local"
    first, second = start_proxy(instance="first"), start_proxy(instance="second")
    before = [connect(proxy).execute(asked).one() for proxy in (first, second)]
    assert before[0].data_center == before[1].data_center
    assert before[0].host_id != before[1].host_id
    for proxy in (first, second):
        assert proxy.stop() == 0
        proxy.start()
        proxy.wait_ready()
    assert [connect(proxy).execute(asked).one() for proxy in (first, second)] == before


def test_a_trace_is_read_from_the_cluster_that_made_it(a, b, start_proxy, connect):
    # Home is A, where all else that is a server's own is read.
    session = connect(start_proxy(reads={"preferred": "B"}))
    select = session.prepare(f"SELECT v FROM {KEYSPACE}.cells WHERE id = ?")
    for statement, values in ((select, ("traced",)), (f"SELECT v FROM {KEYSPACE}.cells LIMIT 1", None)):
        asked = session.execute_async(statement, values, trace=True)
        asked.result()
        assert asked.get_query_trace(max_wait=10).events
    ids = {row.session_id for row in b.execute("SELECT session_id FROM system_traces.sessions")}
    assert asked.get_query_trace().trace_id in ids, "it was not B that was asked"
