"""B applies a write and nobody hears of it: the answers, and only they, are spoiled on the way back."""

import time
import uuid

from checker import check, check_table
from load import KEYSPACE, Load, Log

WRITE_TIMEOUT = 1.5
# Later than any deadline of the proxy, that of its probes too.
LATE = 3.0
# Two busy cores, two JVMs, and a Python client that measures: what is not the proxy's.
SLACK = 1.5
DRAIN_SECONDS_MAX = 60
PARK_SECONDS_MAX = 60


def eventually(holds, seconds, what):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)


def cell(node, id):
    row = node.execute(f"SELECT v, writetime(v) AS t FROM {KEYSPACE}.cells WHERE id = %s", (id,)).one()
    return row and (row.v, row.t)


def dead_letters(proxy):
    return proxy.status()["replay"]["dead_letters"]


def warm(session, proxy, b, log):
    """Until a live write reached B over this session's way: connections are opened on demand."""
    proxy.wait_cluster("B", lambda it: it["connected"] and it["state"] == "closed", 30)
    for n in range(30):
        session.execute(f"INSERT INTO {KEYSPACE}.cells (id, v) VALUES ('warm', '{n}')")
        log.wrote("warm", str(n))
        row = cell(b, "warm")
        if row and row[0] == str(n) and proxy.owed() == 0:
            return
        time.sleep(0.5)
    raise AssertionError("no live write reaches B")


def test_a_write_that_b_applied_unheard_is_replayed_without_change(a, b, faults, start_proxy, connect, tell):
    proxy, log = start_proxy(b=faults.contact_point), Log()
    for stamped in (True, False):
        session = connect(proxy)
        session.use_client_timestamp = stamped
        insert = session.prepare(f"INSERT INTO {KEYSPACE}.cells (id, v) VALUES (?, ?)")
        session.execute(insert, ("prepared", "everywhere"))
        log.wrote("prepared", "everywhere")
        warm(session, proxy, b, log)
        id = f"unheard-{stamped}"

        faults.hold_answers()
        started = time.monotonic()
        session.execute(insert, (id, "applied"))
        took = time.monotonic() - started
        log.wrote(id, "applied")
        eventually(lambda: cell(b, id) is not None, 5, "B applied it")
        applied = cell(b, id)
        owed = proxy.owed()
        faults.lose_answers()
        drained = proxy.wait_drained(DRAIN_SECONDS_MAX)

        tell(f"acknowledged after {took:.2f} s with {owed} owed, drained in {drained:.1f} s")
        assert 1 <= owed
        assert cell(a, id) == cell(b, id) == applied
    tell(check(a, b, log))
    assert dead_letters(proxy) == 0


def test_answers_lost_under_load(a, b, faults, start_proxy, tell):
    proxy = start_proxy(b=faults.contact_point)
    with Load(proxy.port) as load:
        time.sleep(2)
        faults.hold_answers()
        time.sleep(5)
        faults.lose_answers()
        time.sleep(3)
    drained = proxy.wait_drained(DRAIN_SECONDS_MAX)
    tell(f"drained in {drained:.1f} s; {check(a, b, load.log)}")
    assert load.log.errors("write") == []


def test_a_slow_b_costs_nothing_once_its_breaker_is_open(a, b, faults, start_proxy, tell):
    """It does all that it is asked, and says so when nobody waits any more."""
    proxy = start_proxy(b=faults.contact_point)
    with Load(proxy.port) as load:
        time.sleep(2)
        faults.delay_answers(LATE)
        slow = time.monotonic()
        opening = proxy.wait_cluster("B", lambda it: it["state"] == "open", 10)
        opened = time.monotonic()
        time.sleep(6)
        assert proxy.status()["clusters"]["B"]["state"] != "closed"
        assert 0 < proxy.status()["replay"]["owed"]["B"]
        faults.delay_answers(0)
        healed = time.monotonic()
        proxy.wait_cluster("B", lambda it: it["state"] == "closed", 30)
        time.sleep(2)
    texts = {write.text for writes in load.log.cells.values() for write in writes}
    tell(f"{len(texts)} texts; breaker open after {opening:.1f} s")
    tell(f"before: {load.log.latencies('write', until=slow)}")
    tell(f"until the breaker opened: {load.log.latencies('write', slow, opened)}")
    tell(f"breaker open: {load.log.latencies('write', opened, healed)}")
    drained = proxy.wait_drained(DRAIN_SECONDS_MAX)
    tell(f"drained in {drained:.1f} s; {check(a, b, load.log)}")
    assert 4 <= len(texts)
    assert load.log.errors("write") == load.log.errors("read") == []
    assert load.log.latencies("write").worst <= WRITE_TIMEOUT + SLACK
    assert load.log.latencies("write", opened, healed).at(0.99) < WRITE_TIMEOUT / 2
    assert dead_letters(proxy) == 0


def test_answers_that_come_late_reach_nobody_else(a, b, faults, start_proxy, tell):
    """Reads go to B here: a late answer must not be taken for that of a later request."""
    proxy = start_proxy(b=faults.contact_point, reads={"preferred": "B"})
    with Load(proxy.port, reads=0.7, rate=60) as load:
        for _ in range(3):
            time.sleep(1)
            faults.hold_answers()
            time.sleep(2)
            faults.release_answers()
        time.sleep(3)
    drained = proxy.wait_drained(DRAIN_SECONDS_MAX)
    tell(f"drained in {drained:.1f} s; {check(a, b, load.log)}")


def test_connections_cut_again_and_again(a, b, faults, start_proxy, tell):
    proxy = start_proxy(b=faults.contact_point)
    with Load(proxy.port, rate=60) as load:
        for _ in range(10):
            time.sleep(0.7)
            faults.cut()
        time.sleep(2)
    drained = proxy.wait_drained(DRAIN_SECONDS_MAX)
    tell(f"drained in {drained:.1f} s; {check(a, b, load.log)}")
    assert load.log.errors("write") == []


# -- what must not be repeated ---------------------------------------------------------------

NOT_REPEATABLE = [
    f"CREATE TABLE IF NOT EXISTS {KEYSPACE}.counts (id text PRIMARY KEY, n counter)",
    f"CREATE TABLE IF NOT EXISTS {KEYSPACE}.lists (id text PRIMARY KEY, l list<text>)",
]


def make_not_repeatable(a, b):
    for node in (a, b):
        for text in NOT_REPEATABLE:
            node.execute(text)
        for table in ("counts", "lists"):
            node.execute(f"TRUNCATE {KEYSPACE}.{table}")


def count(node, id):
    row = node.execute(f"SELECT n FROM {KEYSPACE}.counts WHERE id = %s", (id,)).one()
    return row.n if row else 0


def listed(node, id):
    row = node.execute(f"SELECT l FROM {KEYSPACE}.lists WHERE id = %s", (id,)).one()
    return list(row.l or []) if row else []


def send_all(session, id):
    """A counter and a list append, as text and prepared; the client may be told that their fate is not known."""
    texts = [
        (f"UPDATE {KEYSPACE}.counts SET n = n + 1 WHERE id = %s", (id,)),
        (f"UPDATE {KEYSPACE}.lists SET l = l + %s WHERE id = %s", (["x"], id)),
    ]
    for text, values in texts:
        for statement in (text, session.prepare(text.replace("%s", "?"))):
            try:
                session.execute(statement, values)
            except Exception:
                pass


def test_counters_and_lists_applied_unheard_are_parked_and_not_repeated(a, b, faults, start_proxy, connect, tell):
    make_not_repeatable(a, b)
    # The breaker stays closed: the second one too must go out to B before its answer is lost.
    proxy = start_proxy(b=faults.contact_point, failover={"threshold": 100})
    session, log = connect(proxy), Log()
    id = f"unheard-{uuid.uuid4()}"
    for parked, (text, values) in enumerate([
        (f"UPDATE {KEYSPACE}.counts SET n = n + 1 WHERE id = %s", (id,)),
        (f"UPDATE {KEYSPACE}.lists SET l = l + %s WHERE id = %s", (["x"], id)),
    ]):
        warm(session, proxy, b, log)
        faults.hold_answers()
        try:
            session.execute(text, values)
            tell("the client was told that it is done")
        except Exception as error:
            tell(f"the client was told {type(error).__name__}")
        faults.lose_answers()
        eventually(lambda: parked < dead_letters(proxy) and proxy.owed() == 0, PARK_SECONDS_MAX, "parked")

    assert count(a, id) == count(b, id) == 1
    assert listed(a, id) == listed(b, id) == ["x"]
    check_table(a, b, KEYSPACE, "counts")
    check_table(a, b, KEYSPACE, "lists")
    tell(check(a, b, log))
    code, out, _ = proxy.command("dlq", "list")
    assert code == 0
    tell(out.strip().replace("\n", "\n    "))
    assert proxy.command("dlq", "list", "--json")[0] == 0


def test_counters_and_lists_that_b_surely_missed_are_applied_once_or_parked(a, b, faults, start_proxy, connect, tell):
    make_not_repeatable(a, b)
    proxy = start_proxy(b=faults.contact_point)
    session, log = connect(proxy), Log()
    session.execute(f"INSERT INTO {KEYSPACE}.cells (id, v) VALUES ('before', 'both')")
    log.wrote("before", "both")
    id = f"missed-{uuid.uuid4()}"
    faults.refuse()
    send_all(session, id)
    faults.refuse(False)
    eventually(lambda: proxy.owed() == 0, DRAIN_SECONDS_MAX, "all decided")

    missing = count(a, id) - count(b, id) + len(listed(a, id)) - len(listed(b, id))
    tell(f"{count(a, id)} counted and {len(listed(a, id))} appended on A, {missing} of them missing on B, "
         f"{dead_letters(proxy)} parked")  # fmt: skip
    assert count(a, id) == len(listed(a, id)) == 2
    assert count(b, id) <= 2 and len(listed(b, id)) <= 2
    assert missing == dead_letters(proxy)
    check(a, b, log)


# -- poison ----------------------------------------------------------------------------------


def test_a_dropped_table_goes_to_the_dead_letters_and_blocks_nobody(a, b, faults, start_proxy, connect, tell):
    name = f"doomed_{uuid.uuid4().hex[:8]}"
    for node in (a, b):
        node.execute(f"CREATE TABLE {KEYSPACE}.{name} (id text PRIMARY KEY, v text)")
    proxy = start_proxy(b=faults.contact_point, replay={"divergence_grace": "5s"})
    session, log = connect(proxy), Log()
    doomed = session.prepare(f"INSERT INTO {KEYSPACE}.{name} (id, v) VALUES (?, ?)")
    sound = session.prepare(f"INSERT INTO {KEYSPACE}.cells (id, v) VALUES (?, ?)")
    faults.refuse()
    for n in range(20):
        session.execute(doomed, (f"k{n}", "gone"))
        session.execute(sound, (f"k{n}", "kept"))
        log.wrote(f"k{n}", "kept")
    for node in (a, b):
        node.execute(f"DROP TABLE {KEYSPACE}.{name}")
    healed = time.monotonic()
    faults.refuse(False)

    eventually(lambda: all(cell(a, f"k{n}") == cell(b, f"k{n}") for n in range(20)), DRAIN_SECONDS_MAX, "the rest")
    tell(f"the sound ones were through after {time.monotonic() - healed:.1f} s")
    eventually(lambda: dead_letters(proxy) == 20 and proxy.owed() == 0, PARK_SECONDS_MAX, "20 dead letters")
    tell(f"the poisoned ones were parked after {time.monotonic() - healed:.1f} s; {check(a, b, log)}")
    code, out, _ = proxy.command("dlq", "list")
    assert code == 0 and name in out
    assert "gone" not in out, "values of the client do not belong into a list"
