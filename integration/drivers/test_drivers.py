"""T10: each driver's program, with the driver's defaults, directly and through the proxy: it must see the same.

Near its end each waits to be told to go on. Through the proxy the cluster that serves reads is then stopped, once for
each driver: what it sees stays the same. Afterwards both clusters hold the same: schema, rows, timestamps.
"""

import os
import pathlib
import subprocess
import tempfile
import threading

import pytest

from checker import check_table, columns_of
from clusters import WORK

HERE = pathlib.Path(__file__).resolve().parent
BUILT = WORK / "drivers"
SECONDS_MAX = 180
DRAIN_SECONDS_MAX = 60
BUILD_SECONDS_MAX = 900

PYTHON = [str(WORK / "venv" / "bin" / "python"), str(HERE / "python" / "driver.py")]
JAVA = str(HERE / "java" / "run")
CQLSH = [PYTHON[0], str(HERE / "cqlsh" / "driver.py"), str(WORK / "cqlsh" / "bin" / "cqlsh")]
# The Python driver compresses with LZ4 by default where it can.
PROGRAMS = {
    "python": ("drivers_python", lambda: ([*PYTHON], [])),
    "python_v4": ("drivers_python", lambda: ([*PYTHON, "--protocol", "4", "--compression", "none"], [])),
    "python_v3": ("drivers_python", lambda: ([*PYTHON, "--protocol", "3", "--compression", "snappy"], [])),
    "python_v5": ("drivers_python", lambda: ([*PYTHON, "--protocol", "5", "--compression", "none"], [])),
    "python_v5_lz4": ("drivers_python", lambda: ([*PYTHON, "--protocol", "5", "--compression", "lz4"], [])),
    "gocql_v1": ("drivers_gocql_v1", lambda: ([build_go("gocql_v1", "v1")], [])),
    "gocql_v1_snappy": ("drivers_gocql_v1", lambda: ([build_go("gocql_v1", "v1")], ["snappy"])),
    "gocql_v2": ("drivers_gocql_v2", lambda: ([build_go("gocql_v2", "v2")], [])),
    "gocql_v2_snappy": ("drivers_gocql_v2", lambda: ([build_go("gocql_v2", "v2")], ["snappy"])),
    "gocql_v2_v4": ("drivers_gocql_v2", lambda: ([build_go("gocql_v2", "v2")], [])),
    "rust": ("drivers_rust", lambda: ([build_rust()], [])),
    "rust_lz4": ("drivers_rust", lambda: ([build_rust()], ["lz4"])),
    # Java and Node begin with a version that only another server has, and come down from it.
    "java": ("drivers_java", lambda: ([JAVA], [])),
    "java_v5_lz4": ("drivers_java", lambda: ([JAVA], [*java("version=V5"), *java("compression=lz4")])),
    "java_v4_snappy": ("drivers_java", lambda: ([JAVA], [*java("version=V4"), *java("compression=snappy")])),
    # It has neither version 5 nor compression.
    "node": ("drivers_node", lambda: ([str(HERE / "node" / "run")], [])),
    "cqlsh": ("drivers_cqlsh", lambda: ([*CQLSH], [])),
}
# Each adds one coding or version to a driver that is there already: `integration/test --all`.
LARGE = {"gocql_v1_snappy", "gocql_v2_snappy", "java_v5_lz4", "java_v4_snappy"}
# The others of a driver add a coding or a version, which a failover has nothing to do with.
FAILS_OVER = {"python", "gocql_v1", "gocql_v2", "rust", "java", "node"}
# What a program says before it waits for a line.
WAITS = "failover"
# The highest version that the proxy offers; by default what both clusters speak, which is v5.
OFFERED = {"gocql_v2_v4": "v4", "rust": "v4"}
# What the proxy speaks to A and B; the others speak plainly.
TO_CLUSTERS = {
    "python_v5_lz4": ("lz4", "snappy"),
    "gocql_v2": ("lz4", "snappy"),
    "rust": ("snappy", "none"),
    "rust_lz4": ("lz4", "lz4"),
    "java_v5_lz4": ("none", "lz4"),
    "java_v4_snappy": ("lz4", "snappy"),
}


def java(setting):
    return [f"-Ddatastax-java-driver.advanced.protocol.{setting}"]


def build_go(name, tag):
    BUILT.mkdir(parents=True, exist_ok=True)
    shell(["go", "build", "-tags", tag, "-o", str(BUILT / name), "."], HERE / "go")
    return str(BUILT / name)


def build_rust():
    shell(["cargo", "build", "--quiet", "--locked", "--target-dir", str(BUILT / "rust")], HERE / "rust")
    return str(BUILT / "rust" / "debug" / "driver")


def shell(command, directory):
    done = subprocess.run(
        command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX
    )
    assert done.returncode == 0, done.stderr[-3000:]


def seen(command, meanwhile=lambda: None):
    """All that the program says; `meanwhile` is done while it waits."""
    with tempfile.TemporaryFile("w+") as errors:
        program = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )
        watch = threading.Timer(SECONDS_MAX, program.kill)
        watch.start()
        try:
            said = list(listen(program, meanwhile))
            code = program.wait()
        finally:
            watch.cancel()
            program.kill()
            program.wait()
        errors.seek(0)
        tail = "\n".join(said)[-1500:]
        assert code == 0, f"{command} ended with {code}\n{tail}\n{errors.read()[-3000:]}"
    return said


def listen(program, meanwhile):
    for line in program.stdout:
        yield line.rstrip("\n")
        if line.strip() == WAITS:
            meanwhile()
            program.stdin.write("go on\n")
            program.stdin.flush()


def drop(nodes, keyspace):
    for node in nodes:
        node.execute(f"DROP KEYSPACE IF EXISTS {keyspace}")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.large) if name in LARGE else name for name in PROGRAMS]
)
def test_t10_the_driver_cannot_tell(a, b, start_proxy, name):
    keyspace, build = PROGRAMS[name]
    program, options = build()
    drop((a, b), keyspace)
    directly = seen([*program, a.contact_point, *options])
    drop((a, b), keyspace)

    proxy = start_proxy(
        compression=TO_CLUSTERS.get(name, ("none", "none")), protocol_max=OFFERED.get(name, "auto")
    )
    proxy.wait_ready()
    fails_over = name in FAILS_OVER
    through = seen([*program, f"127.0.0.1:{proxy.port}", *options], a.stop if fails_over else lambda: None)

    assert through == directly
    assert (WAITS in through) == (name != "cqlsh")
    if fails_over:
        assert 0 < proxy.status()["replay"]["owed"]["A"]
        a.start()
    proxy.wait_drained(DRAIN_SECONDS_MAX)
    assert proxy.status()["replay"]["dead_letters"] == 0
    tables = names_of_tables(a, keyspace)
    assert tables == names_of_tables(b, keyspace) and tables
    # Conditional writes are on the deciding cluster only, as yet.
    for table in tables - {"once"}:
        check_table(a, b, keyspace, table)
    assert columns_of(a, keyspace, "once") == columns_of(b, keyspace, "once")
    drop((a, b), keyspace)


def names_of_tables(node, keyspace):
    text = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s"
    return {row.table_name for row in node.execute(text, (keyspace,))}
