"""What people do in cqlsh: two scripts, and what it said, without what differs from run to run.

driver.py CQLSH HOST:PORT
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROWS = 257
# cqlsh ends with this code when a statement of a file was refused.
REFUSED = 2
SECONDS_MAX = "60"

HOW_LONG = re.compile(r" in ([\d.]+ \w+,? ?(and )?)+(?= \(|\.)")
NODE = re.compile(r"^(Connected to \S+) at [\d.:]+$")
SESSION = re.compile(r"^Tracing session: \S+$")
# As wide as the widest name of a thread.
EVENTS_HEAD = re.compile(r"^ activity +\| timestamp .*\n-[-+]+$", re.M)
EVENT = re.compile(r"^ *(?P<activity>.+?) \| +\d{4}-\d\d-\d\d [\d:.+]+ \| +[\d.]+ \| +(\d+|--) \| +[\d.]+$")
THREAD = re.compile(r" \[[\w:./-]+\]$")
# What a read finds on disk depends on when the server last wrote its memory there.
ON_DISK = re.compile(r"sstable", re.I)
BALLOT = re.compile(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b\d{15,}\b")


def run(cqlsh, address, file, directory):
    host, port = address.rsplit(":", 1)
    command = [cqlsh, host, port, "--file", str(file), "--no-color", "--disable-history"]
    command += ["--connect-timeout", SECONDS_MAX, "--request-timeout", SECONDS_MAX]
    return subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"HOME": str(directory), "PYTHONUNBUFFERED": "1"},
    )


def seen(said):
    """The lines as they came, but for the events of a trace: several threads write them, in no order."""
    events = []
    for line in re.split(r"[\r\n]+", EVENTS_HEAD.sub("activity", said)):
        event = EVENT.match(line)
        if event and ON_DISK.search(event["activity"]):
            continue
        if event:
            events.append(BALLOT.sub("BALLOT", THREAD.sub("", event["activity"])))
            continue
        yield from sorted(events)
        events = []
        if not line.startswith("Processed: "):
            yield masked(line)
    yield from sorted(events)


def masked(line):
    line = HOW_LONG.sub(" in TIME", line)
    line = NODE.sub(r"\1 at ADDRESS", line)
    return SESSION.sub("Tracing session: ID", line)


def give(directory):
    lines = ["id,n,v", *(f"1,{n},v{n}" for n in range(ROWS))]
    (directory / "given.csv").write_text("\n".join(lines) + "\n")


def main(cqlsh, address):
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        give(directory)
        for file, code in (("script.cql", 0), ("refused.cql", REFUSED)):
            done = run(cqlsh, address, HERE / file, directory)
            print(*seen(done.stdout), sep="\n")
            if done.returncode != code:
                sys.exit(f"{file}: exit {done.returncode} instead of {code}\n{done.stdout[-2000:]}")
        # A table is read range by range, and whichever comes first is written first.
        for file in sorted(directory.glob("*.csv")):
            print(file.name, *sorted(file.read_text().splitlines()), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
