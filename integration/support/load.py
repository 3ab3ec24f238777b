"""Tagged load: what was asked, what was answered, and so what may be found afterwards.

Each stream (a thread) writes keys of its own, one request after the other, so that for each cell the order of its
writes is known; a few contended keys are written by all. Every value says which connection, stream and sequence number
wrote it and for which cell, so that an answer that belongs to somebody else is seen at once (I13).
"""

import bisect
import collections
import dataclasses
import random
import threading
import time

from cassandra import OperationTimedOut, Unavailable
from cassandra.cluster import NoHostAvailable
from cassandra.protocol import IsBootstrappingErrorMessage, OverloadedErrorMessage
from cassandra.query import BatchStatement, BatchType, SimpleStatement

from clusters import through

KEYSPACE = "load"
SCHEMA = [
    f"CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} "
    "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    f"CREATE TABLE IF NOT EXISTS {KEYSPACE}.cells (id text PRIMARY KEY, v text, w text)",
    f"CREATE TABLE IF NOT EXISTS {KEYSPACE}.lines (id text, line int, v text, fixed text static, tags set<text>, "
    "marks map<text, text>, PRIMARY KEY (id, line))",
]
TABLES = ("cells", "lines")
ELEMENTS = ("e0", "e1", "e2", "e3")
KEYS_PER_STREAM = 40
LINES_PER_KEY = 3
CONTENDED_KEYS = 5

ACKED, MAYBE, REFUSED = "acked", "maybe", "refused"
# The proxy's own clock may run ahead of ours by what it reserved before a restart (1 s).
CLOCK_AHEAD_MAX_US = 5_000_000


class Cell(collections.namedtuple("Cell", "table key column element", defaults=[None])):
    """One value with a timestamp of its own; of a set or map, one element."""

    def __str__(self):
        key = ":".join(map(str, self.key))
        return f"{self.table}[{key}].{self.column}" + (f"[{self.element}]" if self.element else "")


@dataclasses.dataclass
class Write:
    value: object  # None: deleted
    timestamp: int | None  # None: whoever answers gave it
    sent: int  # our clock, microseconds
    outcome: str = MAYBE  # until answered
    text: str = ""


@dataclasses.dataclass
class Request:
    kind: str
    started: float
    seconds: float
    outcome: str
    error: str | None


@dataclasses.dataclass
class Mutation:
    """One statement with a place for USING TIMESTAMP, and the cells it sets."""

    text: str
    before: list
    after: list
    sets: dict

    def render(self, timestamp, marker):
        using = "" if timestamp is None else f"USING TIMESTAMP {marker}"
        values = self.before + ([] if timestamp is None else [timestamp]) + self.after
        return self.text.format(using=using).replace("?", marker), values


class Log:
    """The client's own record of a run; each stream appends, the checker reads when all have ended."""

    def __init__(self):
        self.cells = collections.defaultdict(list)
        self.contended = collections.defaultdict(list)
        self.requests = []
        self.unanswered = 0
        self.crossed = []  # answers that belong to another cell
        self.stale = []  # when a read started that did not see an acknowledged write, and what it saw
        self._lock = threading.Lock()

    def keep(self, cell, write, contended):
        if contended:
            with self._lock:
                self.contended[cell].append(write)
        else:
            self.cells[cell].append(write)

    def wrote(self, id, value, outcome=ACKED):
        """What a test wrote to `cells` by hand, to be judged like the rest; the timestamp is not the test's own."""
        self.keep(Cell("cells", (id,), "v"), Write(value, None, now_us(), outcome), contended=False)
        self.requests.append(Request("write", time.monotonic(), 0.0, outcome, None))

    def allowed(self, cell):
        """What this cell may hold: its last acknowledged write, or one after it whose fate is not known."""
        values = []
        for write in reversed(self.cells.get(cell, ())):
            if write.outcome == REFUSED:
                continue
            values.append(write.value)
            if write.outcome == ACKED:
                return values
        return values + [None]

    def count(self, outcome, kind="write"):
        return sum(request.kind == kind and request.outcome == outcome for request in self.requests)

    def errors(self, kind, since=0.0, until=float("inf")):
        return [r for r in self.requests if r.kind == kind and r.error and since <= r.started < until]

    def latencies(self, kind, since=0.0, until=float("inf")):
        return Latencies(
            r.seconds for r in self.requests if r.kind == kind and since <= r.started < until
        )


class Latencies:
    def __init__(self, seconds):
        self.sorted = sorted(seconds)

    def at(self, share):
        return self.sorted[min(len(self.sorted) - 1, int(share * len(self.sorted)))] if self.sorted else 0.0

    @property
    def worst(self):
        return self.sorted[-1] if self.sorted else 0.0

    def share_within(self, seconds):
        return bisect.bisect_right(self.sorted, seconds) / max(1, len(self.sorted))

    def __str__(self):
        p50, p99, worst = (1000 * v for v in (self.at(0.5), self.at(0.99), self.worst))
        return f"{len(self.sorted)} requests, p50 {p50:.1f} ms, p99 {p99:.1f} ms, slowest {worst:.0f} ms"


class Clock:
    """Microseconds, strictly increasing over all threads: no two of our writes may tie."""

    def __init__(self):
        self._last = 0
        self._lock = threading.Lock()
        self._given = threading.local()

    def next(self):
        with self._lock:
            self._last = max(self._last + 1, now_us())
            self._given.value = self._last
            return self._last

    def forget(self):
        self._given.value = None

    def given(self):
        """What the driver took from this clock for this thread's request, if it did."""
        return getattr(self._given, "value", None)


def now_us():
    return time.time_ns() // 1000


def surely_not_applied(error, batch):
    """S14, S15: only these say so, and for a batch Unavailable does not."""
    if isinstance(error, Unavailable):
        return not batch
    if isinstance(error, (OverloadedErrorMessage, IsBootstrappingErrorMessage)):
        return True
    if isinstance(error, NoHostAvailable):
        # No error at all inside: the connection went away while the request was on it.
        inner = list(error.errors.values()) if isinstance(error.errors, dict) else list(error.errors)
        return bool(inner) and all(surely_not_applied(e, batch) for e in inner)
    return False


class Stream(threading.Thread):
    """One thread: writes and reads its own keys, paced."""

    def __init__(self, load, number, session, connection, stamped_in_text):
        super().__init__(daemon=True, name=f"stream-{number}")
        self.load = load
        self.log = load.log
        self.number = number
        self.session = session
        self.connection = connection
        self.stamped_in_text = stamped_in_text
        self.dice = random.Random(load.seed * 1000 + number)
        self.sequence = 0

    def run(self):
        pause = 1 / self.load.rate
        due = time.monotonic()
        while not self.load.ending.is_set():
            if self.dice.random() < self.load.reads:
                self._read()
            else:
                self._write()
            due = max(due + pause, time.monotonic() - 0.2)
            self.load.ending.wait(max(0, due - time.monotonic()))

    # -- writing ------------------------------------------------------------------------------

    def _write(self):
        self.sequence += 1
        kind = self.dice.choice(self.load.kinds)
        mutations = getattr(self, f"_{kind}")()
        batch = {"logged_batch": BatchType.LOGGED, "unlogged_batch": BatchType.UNLOGGED}.get(kind)
        prepared = self.dice.random() < 0.6
        stamps = [self.load.clock.next() if self.stamped_in_text else None for _ in mutations]
        writes = self._remember(mutations, stamps, kind)
        self.load.clock.forget()
        outcome = self._send(lambda: self._statement(mutations, stamps, prepared, batch), "write", batch is not None)
        given = None if self.stamped_in_text else self.load.clock.given()
        for write in writes:
            write.timestamp = write.timestamp or given
            write.outcome = outcome

    def _remember(self, mutations, stamps, kind):
        writes = []
        for mutation, stamp in zip(mutations, stamps):
            for cell, value in mutation.sets.items():
                write = Write(value, stamp, now_us(), text=mutation.text)
                self.log.keep(cell, write, kind == "contended")
                writes.append(write)
        return writes

    def _statement(self, mutations, stamps, prepared, batch):
        if batch is None:
            return self._single(mutations[0], stamps[0], prepared)
        statement = BatchStatement(batch)
        for mutation, stamp in zip(mutations, stamps):
            one, values = self._single(mutation, stamp, prepared)
            statement.add(one, values)
        return statement, None

    def _single(self, mutation, stamp, prepared):
        if not prepared:
            text, values = mutation.render(stamp, "%s")
            return SimpleStatement(text), values
        text, values = mutation.render(stamp, "?")
        return self.load.prepared(self.session, text), values

    def _send(self, statement, kind, batch=False):
        started = time.monotonic()
        error = outcome = None
        try:
            one, values = statement()
            started = time.monotonic()
            rows = self.session.execute(one, values)
            outcome = ACKED
        except Exception as caught:  # every kind of failure is a result here
            error = caught
            outcome = REFUSED if surely_not_applied(caught, batch) else MAYBE
        name = None if error is None else f"{type(error).__name__}: {str(error)[:160]}"
        self.log.requests.append(Request(kind, started, time.monotonic() - started, outcome, name))
        if kind == "read":
            return None if error else rows
        return outcome

    # -- what is written ----------------------------------------------------------------------

    def _tag(self, cell):
        return f"c{self.connection}/t{self.number}/s{self.sequence}/{cell}"

    def _id(self):
        return f"{self.load.run}-t{self.number}-{self.dice.randrange(KEYS_PER_STREAM)}"

    def _cell_row(self, id=None):
        id = id or self._id()
        return id, Cell("cells", (id,), "v"), Cell("cells", (id,), "w")

    def _line(self, id=None):
        return id or self._id(), self.dice.randrange(LINES_PER_KEY)

    def _insert(self, id=None):
        id, v, w = self._cell_row(id)
        sets = {v: self._tag(v), w: self._tag(w)}
        text = f"INSERT INTO {KEYSPACE}.cells (id, v, w) VALUES (?, ?, ?) {{using}}"
        return [Mutation(text, [id, *sets.values()], [], sets)]

    def _contended(self):
        return self._insert(f"{self.load.run}-all-{self.dice.randrange(CONTENDED_KEYS)}")

    def _update(self):
        id, v, _ = self._cell_row()
        text = f"UPDATE {KEYSPACE}.cells {{using}} SET v = ? WHERE id = ?"
        return [Mutation(text, [], [self._tag(v), id], {v: self._tag(v)})]

    def _delete(self):
        id, v, w = self._cell_row()
        return [Mutation(f"DELETE FROM {KEYSPACE}.cells {{using}} WHERE id = ?", [], [id], {v: None, w: None})]

    def _delete_column(self):
        id, _, w = self._cell_row()
        return [Mutation(f"DELETE w FROM {KEYSPACE}.cells {{using}} WHERE id = ?", [], [id], {w: None})]

    def _insert_line(self, id=None, line=None):
        id, line = self._line(id) if line is None else (id, line)
        v = Cell("lines", (id, line), "v")
        tags = set(self.dice.sample(ELEMENTS, 2))
        sets = {Cell("lines", (id, line), "tags", e): (e if e in tags else None) for e in ELEMENTS}
        sets[v] = self._tag(v)
        text = f"INSERT INTO {KEYSPACE}.lines (id, line, v, tags) VALUES (?, ?, ?, ?) {{using}}"
        return [Mutation(text, [id, line, sets[v], tags], [], sets)]

    def _delete_line(self):
        id, line = self._line()
        key = (id, line)
        sets = {Cell("lines", key, column, e): None for column in ("tags", "marks") for e in ELEMENTS}
        sets[Cell("lines", key, "v")] = None
        return [Mutation(f"DELETE FROM {KEYSPACE}.lines {{using}} WHERE id = ? AND line = ?", [], [id, line], sets)]

    def _tags(self):
        id, line = self._line()
        element = self.dice.choice(ELEMENTS)
        sign, value = self.dice.choice([("+", element), ("-", None)])
        text = f"UPDATE {KEYSPACE}.lines {{using}} SET tags = tags {sign} ? WHERE id = ? AND line = ?"
        return [Mutation(text, [], [{element}, id, line], {Cell("lines", (id, line), "tags", element): value})]

    def _mark(self):
        id, line = self._line()
        element = self.dice.choice(ELEMENTS)
        cell = Cell("lines", (id, line), "marks", element)
        if self.dice.random() < 0.3:
            text = f"DELETE marks[?] FROM {KEYSPACE}.lines {{using}} WHERE id = ? AND line = ?"
            return [Mutation(text, [element], [id, line], {cell: None})]
        text = f"UPDATE {KEYSPACE}.lines {{using}} SET marks[?] = ? WHERE id = ? AND line = ?"
        return [Mutation(text, [], [element, self._tag(cell), id, line], {cell: self._tag(cell)})]

    def _fixed(self):
        id = self._id()
        cell = Cell("lines", (id,), "fixed")
        text = f"UPDATE {KEYSPACE}.lines {{using}} SET fixed = ? WHERE id = ?"
        return [Mutation(text, [], [self._tag(cell), id], {cell: self._tag(cell)})]

    def _logged_batch(self):
        first, second = self.dice.sample(range(KEYS_PER_STREAM), 2)
        ids = [f"{self.load.run}-t{self.number}-{n}" for n in (first, second)]
        return self._insert(ids[0]) + self._insert_line(ids[1])

    def _unlogged_batch(self):
        id = self._id()
        return self._insert_line(id, 0) + self._insert_line(id, 1)

    # -- reading ------------------------------------------------------------------------------

    def _read(self):
        id, v, w = self._cell_row()
        text = f"SELECT v, w FROM {KEYSPACE}.cells WHERE id = ?"
        started = time.monotonic()
        if self.dice.random() < 0.6:
            rows = self._send(lambda: (self.load.prepared(self.session, text), [id]), "read")
        else:
            rows = self._send(lambda: (SimpleStatement(text.replace("?", "%s")), [id]), "read")
        if rows is not None:
            row = rows.one()
            for cell, value in ((v, row and row.v), (w, row and row.w)):
                self._judge(cell, value, started)

    def _judge(self, cell, value, started):
        if value is not None and not value.endswith(f"/{cell}"):
            self.log.crossed.append(f"asked for {cell}, got {value}")
        elif value not in self.log.allowed(cell):
            text = f"{cell} was {value}, acknowledged was {self.log.allowed(cell)[-1]}"
            self.log.stale.append((started, text))


KINDS = {
    "insert": 4, "update": 4, "delete": 1, "delete_column": 1, "insert_line": 3, "delete_line": 1,
    "tags": 2, "mark": 2, "fixed": 1, "logged_batch": 2, "unlogged_batch": 1, "contended": 1,
}  # fmt: skip


class Load:
    """All streams over a few connections: `with Load(port) as load: ...`, then `load.log`."""

    def __init__(self, port, address="127.0.0.1", *, streams=6, rate=40, reads=0.3, seed=1, kinds=None, **options):
        self.run = f"r{time.time_ns() // 1_000_000:x}"
        self.rate, self.reads, self.seed = rate, reads, seed
        self.kinds = [kind for kind, weight in (kinds or KINDS).items() for _ in range(weight)]
        self.clock = Clock()
        self.log = Log()
        self.ending = threading.Event()
        self._prepared = {}
        self._preparing = threading.Lock()
        # One connection lets the driver give the timestamp, the other leaves it to the proxy.
        self.sessions = [through(port, address, timestamp_generator=self.clock.next, **options) for _ in range(2)]
        self.sessions[1].use_client_timestamp = False
        self.streams = [
            Stream(self, number, self.sessions[number % 2], number % 2, stamped_in_text=number % 3 == 2)
            for number in range(streams)
        ]

    def __enter__(self):
        self.started = time.monotonic()
        for stream in self.streams:
            stream.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.ending.set()
        for stream in self.streams:
            if stream.is_alive():
                stream.join(30)
        # A stream that does not end waits for an answer that never came.
        self.log.unanswered = sum(stream.is_alive() for stream in self.streams)
        for session in self.sessions:
            session.cluster.shutdown()

    def prepared(self, session, text):
        with self._preparing:
            found = self._prepared.get((session, text))
        if found is None:
            found = session.prepare(text)
            with self._preparing:
                self._prepared[(session, text)] = found
        return found


def is_silence(request):
    """The driver gave up waiting: somebody did not answer (P5)."""
    return request.error is not None and request.error.startswith(OperationTimedOut.__name__)
