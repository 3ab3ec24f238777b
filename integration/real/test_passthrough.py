"""Two clusters that want encryption and credentials; each client acts as its own role, replay as the service account."""

import time

import pytest
from cassandra import Unauthorized
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import NoHostAvailable

from certificates import Authority
from checker import check, make_schema
from clusters import Node
from load import KEYSPACE, Load
from proxy import Proxy

ADDRESSES = {"c": "127.0.0.13", "d1": "127.0.0.14"}
SERVICE, SECRET = "helix", "service-secret"
WRITER, READER, PASSWORD = "tom", "ann", "let-me-in"
MADE, MADE_PASSWORD = "made", "never-to-be-shown"
DRAIN_SECONDS_MAX = 60
# What the proxy believes, and what Cassandra's own caches do (credentials_validity and the like).
CACHES_SECONDS = 5


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secured(authority):
    """Both clusters, asked as their superuser."""
    nodes = []
    for name, address in ADDRESSES.items():
        options = {
            "auth_provider": PlainTextAuthProvider("cassandra", "cassandra"),
            "ssl_context": authority.client(),
        }
        keystore = str(authority.keystore(name, address))
        nodes.append(Node(name, address, started_with=("--secured", keystore), **options))
    for node in nodes:
        node.stop()
        node.start("--fresh", "--no-wait")
    for node in nodes:
        node.start()
    make_schema(*nodes)
    for node in nodes:
        for role, secret in ((SERVICE, SECRET), (WRITER, PASSWORD), (READER, PASSWORD)):
            node.execute(f"CREATE ROLE {role} WITH PASSWORD = '{secret}' AND LOGIN = true")
        node.execute(f"GRANT ALL PERMISSIONS ON ALL KEYSPACES TO {SERVICE}")
        node.execute(f"GRANT ALL PERMISSIONS ON KEYSPACE {KEYSPACE} TO {WRITER}")
        node.execute(f"GRANT CREATE ON ALL ROLES TO {WRITER}")
        node.execute(f"GRANT SELECT ON KEYSPACE {KEYSPACE} TO {READER}")
    yield nodes
    for node in nodes:
        node.close()
        node.stop()


@pytest.fixture
def proxy(secured, authority, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    for node in secured:
        for table in ("cells", "lines"):
            node.execute(f"TRUNCATE {KEYSPACE}.{table}")
    proxy = Proxy(
        tmp_path / "proxy",
        *secured,
        cluster_tls={"ca": str(authority.ca)},
        cluster_auth={"username": SERVICE, "password_file": str(secret)},
    )
    proxy.start()
    proxy.wait_ready()
    yield proxy
    for node in secured:
        try:
            node.resume()
        except RuntimeError:
            pass  # it does not run
        node.start()
    proxy.stop()
    said = proxy.said()
    for word in (SECRET, PASSWORD, MADE_PASSWORD):
        assert word not in said


def as_role(name, password=PASSWORD):
    return {"auth_provider": PlainTextAuthProvider(name, password)}


def insert(key):
    return f"INSERT INTO {KEYSPACE}.cells (id, v, w) VALUES ('{key}', 'x', 'y')"


def test_each_role_may_what_it_may_and_nothing_else_is_recorded(secured, proxy, connect):
    tom, ann = connect(proxy, **as_role(WRITER)), connect(proxy, **as_role(READER))
    tom.execute(insert("of tom"))
    with pytest.raises(Unauthorized):
        ann.execute(insert("of ann"))
    assert [row.id for row in ann.execute(f"SELECT id FROM {KEYSPACE}.cells")] == ["of tom"]
    secured[1].pause()
    proxy.wait_cluster("B", lambda it: it["state"] == "open" or tom.execute(insert("more")) is None, 15)
    with pytest.raises(Unauthorized):
        ann.execute(insert("of ann"))
    tom.execute(insert("of tom, too"))
    secured[1].resume()
    proxy.wait_drained(DRAIN_SECONDS_MAX)
    for node in secured:
        ids = {row.id for row in node.execute(f"SELECT id FROM {KEYSPACE}.cells")}
        assert {"of tom", "of tom, too"} <= ids and "of ann" not in ids
    assert proxy.status()["replay"]["dead_letters"] == 0


def test_whoever_is_refused_is_told_so_and_whoever_cannot_be_judged_is_not(secured, proxy, connect):
    for name, password in ((WRITER, "guessed"), ("nobody", PASSWORD)):
        with pytest.raises(NoHostAvailable) as refused:
            connect(proxy, **as_role(name, password))
        assert "AuthenticationFailed" in repr(refused.value)
    assert 2 <= proxy.metric("helix_logins_refused_total")
    for node in secured:
        node.pause()
    with pytest.raises(NoHostAvailable) as hung_up:
        connect(proxy, **as_role(WRITER), connect_timeout=12)
    assert "AuthenticationFailed" not in repr(hung_up.value)
    for node in secured:
        node.resume()
    deadline = time.monotonic() + 20
    while True:
        try:
            connect(proxy, **as_role(WRITER)).execute(insert("after"))
            break
        except Exception:  # the breakers close within seconds
            assert time.monotonic() < deadline
            time.sleep(0.5)


def test_both_are_equal_though_one_was_away_under_load(secured, proxy, tell):
    with Load(proxy.port, **as_role(WRITER)) as load:
        time.sleep(3)
        secured[1].pause()
        proxy.wait_cluster("B", lambda it: it["state"] == "open", 10)
        time.sleep(2)
        secured[1].resume()
        proxy.wait_cluster("B", lambda it: it["state"] == "closed", 30)
        time.sleep(1)
    assert [it.error for it in load.log.errors("write")] == []
    proxy.wait_drained(DRAIN_SECONDS_MAX)
    tell(check(*secured, load.log))


def test_roles_are_made_on_both_by_who_may_and_their_passwords_are_nowhere(secured, proxy, connect):
    connect(proxy, **as_role(WRITER)).execute(
        f"CREATE ROLE IF NOT EXISTS {MADE} WITH PASSWORD = '{MADE_PASSWORD}' AND LOGIN = true"
    )
    for node in secured:
        assert [row.role for row in node.execute(f"SELECT role FROM system_auth.roles WHERE role = '{MADE}'")] == [MADE]
    with pytest.raises(Unauthorized):
        connect(proxy, **as_role(READER)).execute(f"CREATE ROLE other WITH PASSWORD = '{MADE_PASSWORD}'")
    time.sleep(CACHES_SECONDS)
    made = connect(proxy, **as_role(MADE, MADE_PASSWORD))
    with pytest.raises(Unauthorized):
        made.execute(insert("of made"))
    for path in ("/status", "/metrics", "/dlq"):
        assert MADE_PASSWORD not in proxy.get(path)[1]


def test_a_password_that_is_changed_counts_for_those_who_come(secured, proxy, connect):
    before = connect(proxy, **as_role(WRITER))
    for node in secured:
        node.execute(f"ALTER ROLE {WRITER} WITH PASSWORD = '{PASSWORD}-2'")
    try:
        time.sleep(CACHES_SECONDS)
        with pytest.raises(NoHostAvailable):
            connect(proxy, **as_role(WRITER))
        connect(proxy, **as_role(WRITER, f"{PASSWORD}-2")).execute(insert("new"))
        before.execute(insert("old"))
    finally:
        for node in secured:
            node.execute(f"ALTER ROLE {WRITER} WITH PASSWORD = '{PASSWORD}'")
