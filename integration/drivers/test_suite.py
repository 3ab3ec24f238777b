"""gocql's own integration tests through the proxy: whatever passes directly must pass.

The lists in `suite/` are what passed against one cluster directly; with SUITE_DIRECTLY=1 they are made anew. The
large ones run it directly first, each time.
"""

import contextlib
import functools
import os
import pathlib
import re
import ssl
import subprocess

import pytest
from cassandra.auth import PlainTextAuthProvider

from certificates import pack
from clusters import WORK, Node
from proxy import BINARY

HERE = pathlib.Path(__file__).resolve().parent / "suite"
MODULE = "github.com/apache/cassandra-gocql-driver/v2"
# By the tag that they are built with: in one program, some tests of either would fail for the other's.
PROGRAMS = {tag: WORK / "drivers" / f"suite_{tag}" for tag in ("cassandra", "integration")}
ADDRESS_C = "127.0.0.13"
SUPERUSER = ("cassandra", "cassandra")
# Fewer direct passes than these show that the suite did not run.
LEAST = {"cassandra": 100, "integration": 15}
SECONDS_MAX = 400

# Flags of the suite, the highest version that the proxy offers.
VARIANTS = {
    "v5_lz4": (["-proto=5", "-compressor=lz4"], "v5"),
    "v4_snappy": (["-proto=4", "-compressor=snappy"], "v4"),
    "v3": (["-proto=3"], "v4"),
}
# Tests that look for what a proxy of two clusters must not show.
NOT_MEANT = {
    # Expects UNPREPARED after ALTER, and so new columns by a PREPARE of its own. The proxy prepares again
    # by itself, and the client hears of the columns by METADATA_CHANGED.
    "TestPrepareExecuteMetadataChangedFlag",
}
# All that versions and compressions make possible.
MATRIX = [
    (version, compressor)
    for version in (3, 4, 5)
    for compressor in ("no-compression", "lz4", "snappy")
    if (version, compressor) != (5, "snappy")
]
COMMON = ["-rf=1", "-clusterSize=1", "-autowait=500ms", "-gocql.cversion=5.0.6", "-gocql.timeout=20s"]


@functools.cache
def build():
    """Where the suite's sources are, with its certificates."""
    for tag, program in PROGRAMS.items():
        program.parent.mkdir(parents=True, exist_ok=True)
        command = ["go", "test", "-mod=mod", "-c", "-tags", tag, "-o", str(program), MODULE]
        subprocess.run(command, cwd=HERE, check=True, stdin=subprocess.DEVNULL)
    listed = ["go", "list", "-mod=mod", "-m", "-f", "{{.Dir}}", MODULE]
    listed = subprocess.run(listed, cwd=HERE, check=True, capture_output=True, text=True)
    return pathlib.Path(listed.stdout.strip())


def passed(contact_point, flags, tag="cassandra"):
    """The names of the tests that passed, and what was said."""
    source = build()
    command = [str(PROGRAMS[tag]), "-test.v", f"-test.timeout={SECONDS_MAX}s", f"-cluster={contact_point}", *COMMON, *flags]
    done = subprocess.run(
        command, cwd=source, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS_MAX + 30
    )
    said = done.stdout + done.stderr
    return set(re.findall(r"^--- PASS: (\S+)", said, re.M)), said


def drop_all(*nodes):
    for node in nodes:
        for row in node.execute("SELECT keyspace_name FROM system_schema.keyspaces"):
            if not row.keyspace_name.startswith("system"):
                node.execute(f'DROP KEYSPACE IF EXISTS "{row.keyspace_name}"')


@contextlib.contextmanager
def running_c(folder, kind):
    """A cluster of its own with the suite's certificate, `--encrypted` or `--secured`."""
    keystore = folder / "c.p12"
    pack(pki("cassandra.crt"), pki("cassandra.key"), keystore)
    context = ssl.create_default_context(cafile=pki("ca.crt"))
    # The certificate names nobody by an address.
    context.check_hostname = False
    options = {"auth_provider": PlainTextAuthProvider(*SUPERUSER)} if kind == "--secured" else {}
    c = Node("c", ADDRESS_C, started_with=(kind, str(keystore)), ssl_context=context, **options)
    c.stop()
    c.start("--fresh")
    try:
        yield c
    finally:
        c.close()
        c.stop()


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    with running_c(tmp_path_factory.mktemp("encrypted"), "--encrypted") as c:
        yield c


def pki(name):
    return str(build() / "testdata" / "pki" / name)


def told(name, said):
    path = WORK / f"suite_{name}.log"
    path.write_text(said)
    return f"see {path}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_passes_directly_passes_through_the_proxy(a, b, start_proxy, variant):
    flags, offered = VARIANTS[variant]
    direct = HERE / f"{variant}.txt"
    drop_all(a, b)
    if os.environ.get("SUITE_DIRECTLY"):
        names, _ = passed(a.contact_point, flags)
        direct.write_text("".join(f"{name}\n" for name in sorted(names)))
        drop_all(a)
    proxy = start_proxy(protocol_max=offered)
    proxy.wait_ready()
    through, said = passed(f"127.0.0.1:{proxy.port}", flags)
    # Other drivers cannot even read the schema of some of its tables.
    drop_all(a, b)
    failed = sorted(set(direct.read_text().split()) - NOT_MEANT - through)
    assert failed == [], told(variant, said)


def run_both(single, tls, a, b, start_proxy, tell, variant, tag="cassandra"):
    """Directly against `single`, then through a proxy; whatever passes directly must pass."""
    version, compressor = variant
    flags = [f"-proto={version}", f"-compressor={compressor}", *(["-runssl"] if tls else [])]
    drop_all(a, b, single)
    direct, _ = passed(single.contact_point, flags, tag)
    drop_all(single)
    proxy = start_proxy(protocol_max="v5" if version == 5 else "v4", **({"tls": tls} if tls else {}))
    proxy.wait_cluster("B", lambda it: it["connected"], 30)
    through, said = passed(f"127.0.0.1:{proxy.port}", flags, tag)
    drop_all(a, b)
    tell(f"{len(direct)} pass directly, {len(through)} through the proxy")
    assert LEAST[tag] <= len(direct)
    name = f"{tag}_v{version}_{compressor}{'_ssl' if tls else ''}"
    assert sorted(direct - NOT_MEANT - through) == [], told(name, said)


@pytest.mark.large
@pytest.mark.parametrize("variant", MATRIX, ids="v{0[0]}-{0[1]}".format)
def test_the_same_in_every_version_and_compression(a, b, start_proxy, tell, variant):
    run_both(a, None, a, b, start_proxy, tell, variant)


@pytest.mark.large
@pytest.mark.parametrize("variant", MATRIX, ids="v{0[0]}-{0[1]}".format)
def test_the_same_encrypted(a, b, encrypted, start_proxy, tell, variant):
    """The suite shows a certificate of its own, and the proxy wants it (mutual TLS)."""
    tls = {"cert": pki("cassandra.crt"), "key": pki("cassandra.key"), "client_ca": pki("ca.crt")}
    run_both(encrypted, tls, a, b, start_proxy, tell, variant)


@pytest.mark.large
@pytest.mark.parametrize("version", [4, 5])
def test_the_same_of_the_other_tag(a, b, start_proxy, tell, version):
    """Custom payload, functions, discovery of hosts, tuples."""
    run_both(a, None, a, b, start_proxy, tell, (version, "no-compression"), "integration")


@pytest.mark.large
def test_the_suite_logs_in(a, start_proxy, tmp_path):
    """`-runauth`: directly, and at the proxy before the same cluster and one without roles."""
    with running_c(tmp_path, "--secured") as c:
        logs_in(a, c, start_proxy, tmp_path)


def logs_in(a, c, start_proxy, tmp_path):
    flags = ["-proto=4", "-compressor=no-compression", "-runauth", "-runssl", "-test.run=^TestAuthentication$"]
    assert passed(c.contact_point, flags, "integration")[0] == {"TestAuthentication"}
    users, secret = tmp_path / "users", tmp_path / "secret"
    user, password = SUPERUSER
    users.write_text(subprocess.run([BINARY, "user", user], input=password, capture_output=True, text=True, check=True).stdout)
    secret.write_text(password)
    cluster_b = {
        "tls": {"ca": pki("ca.crt"), "verify_hostname": False},
        "auth": {"username": user, "password_file": str(secret)},
    }
    tls = {"cert": pki("cassandra.crt"), "key": pki("cassandra.key"), "client_ca": pki("ca.crt")}
    proxy = start_proxy(a, c, cluster_b=cluster_b, tls=tls, auth={"mode": "service", "users": str(users)})
    proxy.wait_cluster("B", lambda it: it["connected"], 30)
    through, said = passed(f"127.0.0.1:{proxy.port}", flags, "integration")
    assert through == {"TestAuthentication"}, told("auth", said)
