"""gocql's own integration tests through the proxy: whatever passes directly must pass.

The lists in `suite/` are what passed against one cluster directly; with SUITE_DIRECTLY=1 they are made anew.
"""

import os
import pathlib
import re
import subprocess

import pytest

from clusters import WORK

HERE = pathlib.Path(__file__).resolve().parent / "suite"
MODULE = "github.com/apache/cassandra-gocql-driver/v2"
PROGRAM = WORK / "drivers" / "suite"
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
COMMON = ["-rf=1", "-clusterSize=1", "-autowait=500ms", "-gocql.cversion=5.0.6", "-gocql.timeout=20s"]


def build():
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    command = ["go", "test", "-mod=mod", "-c", "-tags", "cassandra", "-o", str(PROGRAM), MODULE]
    subprocess.run(command, cwd=HERE, check=True, stdin=subprocess.DEVNULL)
    listed = ["go", "list", "-mod=mod", "-m", "-f", "{{.Dir}}", MODULE]
    return subprocess.run(listed, cwd=HERE, check=True, capture_output=True, text=True).stdout.strip()


def passed(source, contact_point, flags):
    """The names of the tests that passed, and what was said."""
    command = [str(PROGRAM), "-test.v", f"-test.timeout={SECONDS_MAX}s", f"-cluster={contact_point}", *COMMON, *flags]
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


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_passes_directly_passes_through_the_proxy(a, b, start_proxy, variant):
    flags, offered = VARIANTS[variant]
    source = build()
    direct = HERE / f"{variant}.txt"
    drop_all(a, b)
    if os.environ.get("SUITE_DIRECTLY"):
        names, _ = passed(source, a.contact_point, flags)
        direct.write_text("".join(f"{name}\n" for name in sorted(names)))
        drop_all(a)
    proxy = start_proxy(protocol_max=offered)
    proxy.wait_ready()
    through, said = passed(source, f"127.0.0.1:{proxy.port}", flags)
    # Other drivers cannot even read the schema of some of its tables.
    drop_all(a, b)
    (WORK / f"suite_{variant}.log").write_text(said)
    failed = sorted(set(direct.read_text().split()) - NOT_MEANT - through)
    assert failed == [], f"see {WORK}/suite_{variant}.log"
