"""What must work, and what must be refused, from the first second."""

import time

import pytest
from cassandra.cluster import ResponseFuture
from cassandra.protocol import PreparedQueryNotFound

from checker import check
from clusters import on_both
from load import KEYSPACE, Load, Log


def test_single_cluster_mode(a, start_proxy, tell):
    proxy = start_proxy(b=None)
    with Load(proxy.port) as load:
        time.sleep(4)
    assert load.log.errors("write") == load.log.errors("read") == []
    assert proxy.owed() == 0
    tell(check(a, a, load.log))


def test_an_unwritable_queue_ends_the_start_with_1(start_proxy, tmp_path, tell):
    (tmp_path / "file").write_text("a file, not a folder")
    path = tmp_path / "file" / "replay.db"
    proxy = start_proxy(wait=False, replay={"path": str(path)})
    code, said = proxy.exit_code()
    tell(said.strip().splitlines()[-1])
    assert code == 1
    assert str(path.parent) in said


def test_a_queue_in_use_by_another_process_ends_the_start_with_1(start_proxy, tmp_path, tell):
    path = tmp_path / "replay.db"
    start_proxy(replay={"path": str(path)})
    second = start_proxy(wait=False, replay={"path": str(path)})
    code, said = second.exit_code()
    tell(said.strip().splitlines()[-1])
    assert code == 1


def test_a_wrong_configuration_ends_the_start_with_2(start_proxy):
    proxy = start_proxy(wait=False, writes={"strategy": "sometimes"}, reads={"colour": "red"})
    code, said = proxy.exit_code()
    assert code == 2
    assert "strategy" in said and "colour" in said, "all faults at once"


def test_status_and_metrics_agree(a, b, start_proxy):
    proxy = start_proxy()
    proxy.wait_ready()
    with Load(proxy.port) as load:
        time.sleep(2)
    check(a, b, load.log)
    status = proxy.status()
    assert status["ready"] is True
    assert status["clusters"]["A"]["state"] == status["clusters"]["B"]["state"] == "closed"
    assert status["replay"]["owed"] == {"A": 0, "B": 0}
    for side in ("A", "B"):
        assert proxy.metric("helix_replay_queue_depth", cluster=side) == 0
        assert 0 < proxy.metric("helix_write_total", cluster=side)
    assert 0 < proxy.metric("helix_read_total")
    for arguments in (["status"], ["status", "--json"], ["replay", "status"], ["dlq", "list"]):
        code, out, errors = proxy.command(*arguments)
        assert code == 0 and out, errors


@pytest.fixture
def unprepared_seen(monkeypatch):
    """The driver heals UNPREPARED silently: note each one that reaches it."""
    seen = []
    original = ResponseFuture._set_result

    def watch(self, host, connection, pool, response):
        if isinstance(response, PreparedQueryNotFound):
            seen.append(response)
        return original(self, host, connection, pool, response)

    monkeypatch.setattr(ResponseFuture, "_set_result", watch)
    return seen


def test_forgotten_statements_are_prepared_again_unseen(a, b, start_proxy, connect, unprepared_seen):
    """A changed table makes a server forget its statements; so does a restart without its system tables."""
    proxy = start_proxy()
    session = connect(proxy)
    insert = session.prepare(f"INSERT INTO {KEYSPACE}.cells (id, v) VALUES (?, ?)")
    select = session.prepare(f"SELECT v FROM {KEYSPACE}.cells WHERE id = ?")
    changed, log = [], Log()
    for nodes in ((a,), (b,), (a, b)):
        column = f"extra{len(changed)}"
        changed.append(column)
        on_both(a, b, f"ALTER TABLE {KEYSPACE}.cells ADD IF NOT EXISTS {column} text")
        for node in nodes:
            on_both(node, node, f"ALTER TABLE {KEYSPACE}.cells DROP IF EXISTS {column}")
        on_both(a, b, f"ALTER TABLE {KEYSPACE}.cells DROP IF EXISTS {column}")
        for n in range(10):
            session.execute(insert, (f"forgotten-{n}", column))
            log.wrote(f"forgotten-{n}", column)
            assert session.execute(select, (f"forgotten-{n}",)).one().v == column
    assert unprepared_seen == []
    proxy.wait_drained(30)
    check(a, b, log)
    assert proxy.status()["replay"]["dead_letters"] == 0


def test_statements_survive_a_node_that_forgot_them_over_a_restart(a, b, start_proxy, connect, unprepared_seen):
    proxy = start_proxy()
    session = connect(proxy)
    insert = session.prepare(f"INSERT INTO {KEYSPACE}.cells (id, v) VALUES (?, ?)")
    log = Log()
    session.execute(insert, ("restart", "before"))
    log.wrote("restart", "before")
    b.stop()
    b.forget_prepared()
    b.start()
    proxy.wait_cluster("B", lambda it: it["state"] == "closed" and it["connected"], 60)
    for n in range(20):
        session.execute(insert, (f"restart-{n}", "after"))
        log.wrote(f"restart-{n}", "after")
    assert unprepared_seen == []
    proxy.wait_drained(30)
    check(a, b, log)
