"""What an application does with the Python driver and its defaults; prints what it saw, so that two runs compare.

    driver.py HOST:PORT [--protocol N] [--compression lz4|snappy|none]

Near the end it says "failover" and waits for a line on its standard input: whoever runs it may take a server away.
"""

import argparse
import collections
import datetime
import decimal
import sys
import uuid

from cassandra import AlreadyExists, ConsistencyLevel, InvalidRequest
from cassandra.cluster import Cluster
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.protocol import SyntaxException
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, SimpleStatement, dict_factory, named_tuple_factory
from cassandra.util import Date, Duration, Time

KEYSPACE = "drivers_python"
ROWS, PAGE = 257, 50
ROUNDS = 5
Place = collections.namedtuple("Place", "street number")


def say(name, *seen):
    print(name, *seen, flush=True)


def connect(address, protocol, compression):
    host, port = address.rsplit(":", 1)
    options = {} if protocol is None else {"protocol_version": protocol}
    if compression is not None:
        options["compression"] = False if compression == "none" else compression
    cluster = Cluster([host], port=int(port), **options)
    return cluster, cluster.connect()


def system_tables(cluster, session):
    local = session.execute("SELECT * FROM system.local WHERE key = 'local'").one()
    say("system.local", local.key, local.data_center, local.rack, local.partitioner, 0 < len(local.tokens))
    prepared = session.prepare("SELECT cluster_name, schema_version FROM system.local WHERE key = ?")
    say("system.local prepared", session.execute(prepared, ("local",)).one().schema_version is not None)
    say("system.local nobody", session.execute(prepared, ("nobody",)).one())
    say("system.local count", session.execute("SELECT count(*) FROM system.local").one()[0])
    say("system.peers", len(list(session.execute("SELECT peer, data_center FROM system.peers"))))
    say("system.peers_v2", len(list(session.execute("SELECT * FROM system.peers_v2"))))
    say("hosts", len(cluster.metadata.all_hosts()), all(host.is_up for host in cluster.metadata.all_hosts()))
    names = {row.keyspace_name for row in session.execute("SELECT keyspace_name FROM system_schema.keyspaces")}
    say("system_schema", {"system", "system_schema"} <= names)


def schema(cluster, session):
    session.execute(f"DROP KEYSPACE IF EXISTS {KEYSPACE}")
    session.execute(
        f"CREATE KEYSPACE {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    )
    session.set_keyspace(KEYSPACE)
    session.execute("CREATE TYPE place (street text, number int)")
    session.execute(
        "CREATE TABLE kinds (id int PRIMARY KEY, a ascii, b bigint, bl blob, bo boolean, d date, de decimal, do double,"
        " du duration, f float, i inet, n int, s smallint, t text, ti time, ts timestamp, tu timeuuid, tn tinyint,"
        " u uuid, v varchar, vi varint, l list<int>, se set<text>, m map<text, int>, tp tuple<int, text>,"
        " p frozen<place>, fl frozen<list<text>>, nested map<text, frozen<list<int>>>, vec vector<float, 3>)"
    )
    session.execute("CREATE TABLE pages (id int, n int, v text, PRIMARY KEY (id, n))")
    session.execute("CREATE TABLE counts (id int PRIMARY KEY, n counter)")
    session.execute("CREATE TABLE once (id int PRIMARY KEY, n int)")
    session.execute('CREATE TABLE "Mixed" ("Key" int PRIMARY KEY, "Value" text)')
    session.execute("ALTER TABLE pages ADD later text")
    session.execute("CREATE INDEX IF NOT EXISTS pages_v ON pages (v)")
    cluster.refresh_schema_metadata()
    tables = cluster.metadata.keyspaces[KEYSPACE].tables
    say("tables", sorted(tables), sorted(tables["pages"].columns))
    say("agreed", cluster.control_connection.wait_for_schema_agreement(wait_time=10))


def kinds(cluster, session):
    values = {
        "id": 1, "a": "ascii", "b": 2**60, "bl": b"\x00\xff", "bo": True, "d": Date(datetime.date(2024, 2, 29)),
        "de": decimal.Decimal("-12.3450"), "do": 1.5e300, "du": Duration(1, 2, 3), "f": 0.5,
        "i": "2001:db8::1", "n": -1, "s": -32768, "t": "text \u2603", "ti": Time(1), "tn": 127,
        "ts": datetime.datetime(2024, 1, 2, 3, 4, 5, 678000), "tu": uuid.UUID("50554d6e-29bb-11e5-b345-feff819cdc9f"),
        "u": uuid.UUID(int=7), "v": "", "vi": -(2**100), "l": [3, 1, 2], "se": {"x", "y"}, "m": {"k": 1},
        "tp": (1, "one"), "p": Place("Main", 1), "fl": ["a", "b"], "nested": {"k": [1, 2]},
        "vec": [0.5, 0.25, -1.0],
    }  # fmt: skip
    cluster.register_user_type(KEYSPACE, "place", Place)
    columns = ", ".join(values)
    insert = session.prepare(f"INSERT INTO kinds ({columns}) VALUES ({', '.join(':' + c for c in values)})")
    session.execute(insert, values)
    session.row_factory = dict_factory
    row = session.execute("SELECT * FROM kinds WHERE id = 1").one()
    for column in values:
        say("kind", column, repr(row[column]))
    nothing = dict.fromkeys(values, None) | {"id": 2}
    session.execute(insert, nothing)
    say("nulls", sum(v is None for v in session.execute("SELECT * FROM kinds WHERE id = 2").one().values()))
    if 4 <= cluster.protocol_version:
        session.execute(insert, values | {"id": 2})
        session.execute(insert, dict.fromkeys(values, UNSET_VALUE) | {"id": 2, "n": 5})
        row = session.execute("SELECT * FROM kinds WHERE id = 2").one()
        say("unset kept", row["n"], row["t"])
    else:
        say("unset kept", 5, "text \u2603")
    session.row_factory = named_tuple_factory


def pages(session):
    insert = session.prepare("INSERT INTO pages (id, n, v) VALUES (?, ?, ?)")
    done = execute_concurrent_with_args(session, insert, [(1, n, f"v{n}") for n in range(ROWS)], concurrency=100)
    say("concurrent", all(result.success for result in done))
    for statement, values in (
        (SimpleStatement("SELECT n, v FROM pages WHERE id = %s", fetch_size=PAGE), (1,)),
        (session.prepare("SELECT n, v FROM pages WHERE id = ?"), (1,)),
    ):
        statement.fetch_size = PAGE
        result = session.execute(statement, values)
        sizes, rows = [], []
        while True:
            sizes.append(len(result.current_rows))
            rows += [row.n for row in result.current_rows]
            if not result.has_more_pages:
                break
            result = session.execute(statement, values, paging_state=result.paging_state)
        say("pages", sizes, rows == list(range(ROWS)))
    say("iterated", sum(1 for _ in session.execute("SELECT * FROM pages")))
    say("indexed", session.execute("SELECT n FROM pages WHERE v = 'v77'").one().n)


def batches(session):
    insert = session.prepare("INSERT INTO pages (id, n, v) VALUES (?, ?, ?)")
    for number, kind in enumerate((BatchType.LOGGED, BatchType.UNLOGGED)):
        batch = BatchStatement(kind, consistency_level=ConsistencyLevel.ONE)
        batch.add(insert, (10 + number, 1, "one"))
        batch.add("INSERT INTO pages (id, n, v) VALUES (%s, 2, 'two')", (10 + number,))
        batch.add(SimpleStatement(f"DELETE FROM pages WHERE id = {10 + number} AND n = 3"))
        session.execute(batch)
        say("batch", kind, [tuple(row) for row in session.execute("SELECT n, v FROM pages WHERE id = %s", (10 + number,))])
    session.execute(f"BEGIN BATCH INSERT INTO {KEYSPACE}.pages (id, n, v) VALUES (12, 1, 'text') APPLY BATCH")
    session.execute(BatchStatement())
    say("batch as text", session.execute("SELECT v FROM pages WHERE id = 12").one().v)
    counter = BatchStatement(BatchType.COUNTER)
    add = session.prepare("UPDATE counts SET n = n + ? WHERE id = ?")
    for step in (1, 2, 3):
        counter.add(add, (step, 1))
    session.execute(counter)
    session.execute("UPDATE counts SET n = n - 1 WHERE id = 1")
    say("counter", session.execute("SELECT n FROM counts WHERE id = 1").one().n)


def odds(session):
    session.execute('INSERT INTO "Mixed" ("Key", "Value") VALUES (1, \'quoted\')')
    say("quoted", session.execute('SELECT "Value" FROM "Mixed" WHERE "Key" = 1').one()[0])
    session.execute("INSERT INTO pages (id, n, v) VALUES (20, 1, 'timed') USING TIMESTAMP 1234567890 AND TTL 5000")
    row = session.execute("SELECT writetime(v), ttl(v) FROM pages WHERE id = 20").one()
    say("timestamp and ttl", row[0], 4900 < row[1] <= 5000)
    first, second = (session.execute("INSERT INTO once (id, n) VALUES (21, 1) IF NOT EXISTS").one() for _ in range(2))
    say("conditional", first.applied, second.applied)
    big = "x" * 2_000_000
    session.execute(session.prepare("INSERT INTO pages (id, n, v) VALUES (?, ?, ?)"), (22, 1, "small"))
    session.execute(session.prepare("INSERT INTO pages (id, n, later) VALUES (?, ?, ?)"), (22, 2, big))
    say("big value", session.execute("SELECT later FROM pages WHERE id = 22 AND n = 2").one()[0] == big)
    say("json", session.execute("SELECT JSON id, n FROM pages WHERE id = 12").one()[0])
    say("function", session.execute("SELECT toDate(now()) FROM system.local").one()[0] is not None)
    session.execute("INSERT INTO pages (id, n, v) VALUES (23, 1, 'x')", trace=False)
    trace = session.execute("SELECT v FROM pages WHERE id = 23", trace=True).get_query_trace(10)
    say("trace", 0 < len(trace.events))
    session.execute("TRUNCATE counts")
    say("truncated", session.execute("SELECT count(*) FROM counts").one()[0])
    session.execute("DROP TABLE counts")


def refusals(session):
    for name, text, kind in (
        ("syntax", "SELEC 1", SyntaxException),
        ("no table", f"SELECT * FROM {KEYSPACE}.nothing", InvalidRequest),
        ("no keyspace", "USE nothing_at_all", InvalidRequest),
        ("wrong type", "INSERT INTO pages (id, n) VALUES ('a', 1)", InvalidRequest),
        ("exists", f"CREATE TABLE {KEYSPACE}.pages (id int PRIMARY KEY)", AlreadyExists),
    ):
        try:
            session.execute(text)
            say("refused", name, "not at all")
        except kind:
            say("refused", name)
    session.set_keyspace(KEYSPACE)
    say("still works", session.execute("SELECT v FROM pages WHERE id = 12").one().v)


def failover(session):
    insert = session.prepare("INSERT INTO pages (id, n, v) VALUES (?, ?, ?)")
    select = session.prepare("SELECT n, v FROM pages WHERE id = ?")
    say("failover")
    sys.stdin.readline()
    for n in range(ROUNDS):
        session.execute(insert, (60, n, f"round {n}"))
        say("after", [tuple(row) for row in session.execute(select, (60,))])
    # What is prepared only now, too.
    session.execute(session.prepare("UPDATE pages SET later = ? WHERE id = 60 AND n = 0"), ("later",))
    say("prepared after", session.execute(session.prepare("SELECT later FROM pages WHERE id = 60 AND n = 0")).one().later)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("address")
    arguments.add_argument("--protocol", type=int)
    arguments.add_argument("--compression", choices=["lz4", "snappy", "none"])
    arguments = arguments.parse_args()
    cluster, session = connect(arguments.address, arguments.protocol, arguments.compression)
    try:
        say("connected")
        system_tables(cluster, session)
        schema(cluster, session)
        kinds(cluster, session)
        pages(session)
        batches(session)
        odds(session)
        refusals(session)
        failover(session)
        say("done")
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
