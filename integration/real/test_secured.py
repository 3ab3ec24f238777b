"""A cluster that wants encryption and credentials, beside one that wants neither; clients log in at the proxy."""

import subprocess
import time

import pytest
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import NoHostAvailable

from certificates import Authority
from checker import check, make_schema
from clusters import Node
from load import KEYSPACE, Load
from proxy import BINARY

ADDRESS = "127.0.0.13"
USER, PASSWORD = "tom", "let tom in"
ROLE, SECRET = "helix", "service-secret"
# What settles both clusters after the proxy's service account could not log in for a while.
DRAIN_SECONDS_MAX = 60


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def c(authority):
    """The secured cluster, asked as its superuser."""
    options = {
        "auth_provider": PlainTextAuthProvider("cassandra", "cassandra"),
        "ssl_context": authority.client(),
    }
    keystore = authority.keystore("c", ADDRESS)
    node = Node("c", ADDRESS, started_with=("--secured", str(keystore)), **options)
    node.stop()
    node.start("--fresh")
    node.execute(f"CREATE ROLE {ROLE} WITH PASSWORD = '{SECRET}' AND LOGIN = true")
    node.execute(f"GRANT ALL PERMISSIONS ON ALL KEYSPACES TO {ROLE}")
    yield node
    node.close()
    node.stop()


@pytest.fixture
def log_in():
    return {"auth_provider": PlainTextAuthProvider(USER, PASSWORD)}


@pytest.fixture
def start_secured(a, c, authority, tmp_path, start_proxy, monkeypatch):
    """`start_secured(**settings)`: a proxy whose B is the secured cluster."""
    made = subprocess.run([BINARY, "user", USER], input=f"{PASSWORD}\n", capture_output=True, text=True, check=True)
    users, secret = tmp_path / "users", tmp_path / "secret"
    users.write_text(made.stdout)
    secret.write_text(f"{SECRET}\n")

    def start(**settings):
        make_schema(a, c)
        cluster_b = {
            "tls": {"ca": str(authority.ca)},
            "auth": {"username": ROLE, "password_file": str(secret)},
        }
        auth = {"mode": "service", "users": str(users)}
        return start_proxy(a, c, cluster_b=cluster_b, auth=auth, **settings)

    return start


def no_secret_is_said(proxy):
    said = proxy.said() + str(proxy.status()) + proxy.get("/metrics")[1]
    assert PASSWORD not in said and SECRET not in said


@pytest.mark.parametrize("settings", [{}, {"protocol_max": "v5", "compression": ("none", "lz4")}], ids=["v4", "v5-lz4"])
def test_both_are_equal_though_one_is_secured(a, c, start_secured, log_in, tell, settings):
    proxy = start_secured(**settings)
    proxy.wait_ready()
    with Load(proxy.port, **log_in) as load:
        time.sleep(4)
        c.pause()
        proxy.wait_cluster("B", lambda it: it["state"] == "open", 10)
        time.sleep(2)
        c.resume()
        proxy.wait_cluster("B", lambda it: it["state"] == "closed", 30)
        time.sleep(1)
    assert [it.error for it in load.log.errors("write")] == []
    proxy.wait_drained(DRAIN_SECONDS_MAX)
    tell(check(a, c, load.log))
    no_secret_is_said(proxy)


def test_schema_and_data_go_through_with_the_service_account(a, c, start_secured, connect, log_in):
    proxy = start_secured()
    session = connect(proxy, **log_in)
    session.execute(f"DROP TABLE IF EXISTS {KEYSPACE}.secured")
    session.execute(f"CREATE TABLE {KEYSPACE}.secured (k text PRIMARY KEY, v text)")
    session.execute(f"INSERT INTO {KEYSPACE}.secured (k, v) VALUES ('x', 'y')")
    for node in (a, c):
        assert node.execute(f"SELECT v FROM {KEYSPACE}.secured").one().v == "y"
    session.execute(f"DROP TABLE {KEYSPACE}.secured")


def test_whoever_is_not_in_the_file_is_not_let_in(start_secured, connect):
    proxy = start_secured()
    for provider in (
        None,
        PlainTextAuthProvider(USER, "guessed"),
        PlainTextAuthProvider("cassandra", "cassandra"),
        PlainTextAuthProvider(ROLE, SECRET),
    ):
        with pytest.raises(NoHostAvailable) as refused:
            connect(proxy, **({"auth_provider": provider} if provider else {}))
        assert "AuthenticationFailed" in repr(refused.value) or "Authentication" in str(refused.value)


def test_a_service_account_that_is_refused_loses_nothing(a, c, start_secured, log_in, tell):
    """It may not log in any more, and the connections end."""
    proxy = start_secured()
    proxy.wait_ready()
    with Load(proxy.port, **log_in) as load:
        time.sleep(2)
        c.execute(f"ALTER ROLE {ROLE} WITH LOGIN = false")
        c.kill()
        c.start()
        time.sleep(6)
        assert not proxy.status()["clusters"]["B"]["connected"]
        assert 0 < proxy.status()["replay"]["owed"]["B"]
        c.execute(f"ALTER ROLE {ROLE} WITH LOGIN = true")
        proxy.wait_cluster("B", lambda it: it["state"] == "closed", 60)
        time.sleep(1)
    assert [it.error for it in load.log.errors("write")] == []
    proxy.wait_drained(DRAIN_SECONDS_MAX)
    assert f"{ROLE} is not permitted to log in" in proxy.said()
    tell(check(a, c, load.log))
    no_secret_is_said(proxy)
