"""Traps of the wire that others fell into, on real clusters; those that need an odd node are in `fakes/test_traps.py`."""

import concurrent.futures
import time

import pytest
from cassandra import InvalidRequest
from cassandra.cluster import NoHostAvailable

from checker import check_table, columns_of
from load import KEYSPACE

MEBIBYTE = 1 << 20
LARGE_ROWS = 70
AGREEMENT_SECONDS_MAX = 1.0
QUOTED = "QuotedKeyspace"


def test_t8_the_schema_is_agreed_on_once_ddl_is_answered(a, b, start_proxy, connect, tell):
    # The driver would wait for agreement before it hands out the answer: that is what is measured here.
    session = connect(start_proxy(), max_schema_agreement_wait=0)
    versions = session.cluster.control_connection
    for text, columns in (
        (f"CREATE TABLE {KEYSPACE}.t8 (k int PRIMARY KEY, v text)", ["k", "v"]),
        (f"ALTER TABLE {KEYSPACE}.t8 ADD w text", ["k", "v", "w"]),
        (f"CREATE INDEX ON {KEYSPACE}.t8 (w)", ["k", "v", "w"]),
        (f"DROP TABLE {KEYSPACE}.t8", []),
    ):
        started = time.monotonic()
        session.execute(text)
        answered = time.monotonic()
        assert versions.wait_for_schema_agreement(wait_time=AGREEMENT_SECONDS_MAX), text
        agreed = time.monotonic()
        tell(f"{text.split(' (')[0]}: {answered - started:.2f} s, agreed {1000 * (agreed - answered):.0f} ms later")
        for node in (a, b):
            assert [name for name, _, _ in columns_of(node, KEYSPACE, "t8")] == columns, f"{text} on {node}"
            indexes = node.execute(
                "SELECT index_name FROM system_schema.indexes WHERE keyspace_name = %s AND table_name = 't8'", (KEYSPACE,)
            )
            assert len(indexes.all()) == text.startswith("CREATE INDEX"), f"{text} on {node}"
        if columns:
            # Prepared at once: no node that is asked lacks it.
            insert = session.prepare(f"INSERT INTO {KEYSPACE}.t8 (k, {columns[-1]}) VALUES (?, ?)")
            session.execute(insert, (1, "value"))
            assert check_table(a, b, KEYSPACE, "t8") == 1


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
    assert check_table(a, b, QUOTED, "T") == 1
    # Nobody else's connection is in that keyspace.
    other = connect(proxy, protocol_version=version)
    with pytest.raises(InvalidRequest):
        other.execute('SELECT v FROM "T" WHERE k = 1')
    session.execute(f'DROP KEYSPACE "{QUOTED}"')


def test_t11_rows_of_a_mebibyte(a, b, start_proxy, connect, tell):
    # How fast two nodes on few cores take them is not the point.
    patient = {"timeout": "30s"}
    proxy = start_proxy(writes=patient, reads=patient)
    session = connect(proxy, request_timeout=60)
    insert = session.prepare(f"INSERT INTO {KEYSPACE}.cells (id, v) VALUES (?, ?)")
    select = session.prepare(f"SELECT v FROM {KEYSPACE}.cells WHERE id = ?")

    def row(number):
        return f"t11-{number}", f"{number:02}" * (MEBIBYTE // 2)

    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda it: session.execute(insert, row(it)), range(LARGE_ROWS)))
        written = time.monotonic()
        found = list(pool.map(lambda it: session.execute(select, row(it)[:1]).one().v == row(it)[1], range(LARGE_ROWS)))
    read = time.monotonic()
    tell(
        f"{LARGE_ROWS} rows of 1 MiB: {LARGE_ROWS / (written - started):.0f} written a second, to both, "
        f"{LARGE_ROWS / (read - written):.0f} read a second"
    )
    assert all(found)
    proxy.wait_drained(60)
    # One by one: all that the checker would ask for at once are 70 MiB in a page.
    text = f"SELECT v, writetime(v) FROM {KEYSPACE}.cells WHERE id = %s"
    different = []
    for key, value in map(row, range(LARGE_ROWS)):
        on_a, on_b = (node.execute(text, (key,)).one() for node in (a, b))
        if on_a != on_b or on_a[0] != value:
            different.append(key)
    assert different == []


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


@pytest.mark.parametrize("version", [4, 5])
def test_columns_are_fresh_after_alter(a, b, start_proxy, connect, version):
    session, other = (connect(it, protocol_version=version) for it in [start_proxy()] * 2)
    table = f"{KEYSPACE}.altered_v{version}"
    session.execute(f"CREATE TABLE {table} (k int PRIMARY KEY, v text)")
    session.execute(f"INSERT INTO {table} (k, v) VALUES (1, 'one')")
    select = session.prepare(f"SELECT * FROM {table} WHERE k = ?")
    assert session.execute(select, (1,)).one() == (1, "one")
    # Somebody else alters it: this client only sees what its answers say.
    other.execute(f"ALTER TABLE {table} ADD a int")
    other.execute(f"UPDATE {table} SET a = 7 WHERE k = 1")
    for _ in range(3):
        row = session.execute(select, (1,)).one()
        assert (row.k, row.a, row.v) == (1, 7, "one")
    other.execute(f"ALTER TABLE {table} DROP a")
    for _ in range(3):
        assert session.execute(select, (1,)).one()._fields == ("k", "v")
    assert check_table(a, b, KEYSPACE, table.split(".")[1]) == 1


def once_reconnected(session, statement, values):
    """The answer, as soon as the driver has a connection again."""
    for _ in range(50):
        try:
            return session.execute(statement, values)
        except NoHostAvailable:
            time.sleep(0.2)
    raise AssertionError("the driver did not come back in 10 s")


@pytest.mark.parametrize("version", [4, 5])
def test_columns_are_the_serving_clusters_own(a, b, start_proxy, connect, version):
    """The clusters' columns differ, and reads move from one to the other."""
    table = f"{KEYSPACE}.differs_v{version}"
    a.execute(f"CREATE TABLE {table} (k int PRIMARY KEY, v text, z text)")
    b.execute(f"CREATE TABLE {table} (k int PRIMARY KEY, n int, v text)")
    a.execute(f"INSERT INTO {table} (k, v, z) VALUES (1, 'of A', 'last')")
    b.execute(f"INSERT INTO {table} (k, n, v) VALUES (1, 7, 'of B')")
    rows = {"A": {"k": 1, "v": "of A", "z": "last"}, "B": {"k": 1, "n": 7, "v": "of B"}}
    for first, then in ("AB", "BA"):
        proxy = start_proxy(reads={"preferred": first})
        session = connect(proxy, protocol_version=version)
        select = session.prepare(f"SELECT * FROM {table} WHERE k = ?")
        assert session.execute(select, (1,)).one()._asdict() == rows[first]
        assert proxy.stop() == 0
        # The same driver with the same statement, before a proxy that prefers the other cluster.
        before = proxy.file.read_text()
        after = before.replace(f'"preferred": "{first}"', f'"preferred": "{then}"')
        assert before != after
        proxy.file.write_text(after)
        proxy.start()
        proxy.wait_ready()
        assert once_reconnected(session, select, (1,)).one()._asdict() == rows[then]


def test_a_keyspace_that_one_side_has_is_made_on_the_other(a, b, start_proxy, connect):
    session = connect(start_proxy())
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    for number, node in enumerate((a, b)):
        name = f"half_{number}"
        node.execute(f"CREATE KEYSPACE {name} WITH replication = {replication}")
        session.execute(f"CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = {replication}")
        session.execute(f"CREATE TABLE {name}.t (k int PRIMARY KEY)")
        session.execute(f"INSERT INTO {name}.t (k) VALUES (1)")
        assert check_table(a, b, name, "t") == 1
        session.execute(f"DROP KEYSPACE {name}")
