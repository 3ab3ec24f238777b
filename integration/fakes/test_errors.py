"""Every error that a server may answer, to every kind of request, however it is dressed, from either cluster and
from both: what the client hears, who is owed the write, and what becomes of the debt.

What is expected is written down from the design (the outcome of a write, S13 to S16), not from the code.
"""

import asyncio
import collections
import dataclasses
import itertools
import json
import re
import struct

import pytest

from fakes import COMPRESSED, TRACING, UNPREPARED, VOID, WARNINGS, Client, Fake
from fakes import cells, dressed, long_bytes, string, unprepared
from proxy import Proxy
from segments import Segments, pack, unpack

# What an error says of the request that it answers: it was refused for good; it was surely not applied, if it was of
# one partition; it may have been applied; the node knows no such id.
REFUSED, NOT_APPLIED, MAYBE, FORGOTTEN = "refused", "not applied", "maybe", "forgotten"

ONE_OF_TWO = struct.pack(">Hii", 6, 1, 2)


def of_type(name):
    # Version 5 adds to CAS how often it was contended.
    return lambda version: ONE_OF_TWO + string(name) + (b"\0\3" if name == "CAS" and 5 <= version else b"")


def failed(then):
    """Version 5 says why, by replica; those before it only how many."""
    reasons = struct.pack(">i", 2) + b"\4\x7f\0\0\1\0\0" + b"\4\x7f\0\0\2\0\1"
    return lambda version: ONE_OF_TWO + (reasons if 5 <= version else struct.pack(">i", 2)) + then


def fields(data):
    return lambda version: data


# name: (code, fields, what it says)
ERRORS = {
    "SERVER_ERROR": (0x0000, fields(b""), MAYBE),
    # The next two are in neither list of the design, which makes them a "maybe" (S16). No server says them of a
    # request that it ran, and a "maybe" would be replayed for ever: docs/ARCHITECTURE.md, "Policy and health".
    "PROTOCOL_ERROR": (0x000A, fields(b""), REFUSED),
    "BAD_CREDENTIALS": (0x0100, fields(b""), REFUSED),
    "UNAVAILABLE": (0x1000, fields(struct.pack(">Hii", 6, 2, 1)), NOT_APPLIED),
    "OVERLOADED": (0x1001, fields(b""), NOT_APPLIED),
    "IS_BOOTSTRAPPING": (0x1002, fields(b""), NOT_APPLIED),
    "TRUNCATE_ERROR": (0x1003, fields(b""), MAYBE),
    "WRITE_TIMEOUT SIMPLE": (0x1100, of_type("SIMPLE"), MAYBE),
    "WRITE_TIMEOUT BATCH": (0x1100, of_type("BATCH"), MAYBE),
    "WRITE_TIMEOUT UNLOGGED_BATCH": (0x1100, of_type("UNLOGGED_BATCH"), MAYBE),
    "WRITE_TIMEOUT BATCH_LOG": (0x1100, of_type("BATCH_LOG"), MAYBE),
    "WRITE_TIMEOUT COUNTER": (0x1100, of_type("COUNTER"), MAYBE),
    "WRITE_TIMEOUT CAS": (0x1100, of_type("CAS"), MAYBE),
    "READ_TIMEOUT": (0x1200, fields(ONE_OF_TWO + b"\0"), MAYBE),
    "READ_FAILURE": (0x1300, failed(b"\0"), MAYBE),
    "FUNCTION_FAILURE": (0x1400, fields(string("ks") + string("f") + struct.pack(">H", 1) + string("int")), REFUSED),
    "WRITE_FAILURE": (0x1500, failed(string("SIMPLE")), MAYBE),
    "CDC_WRITE_FAILURE": (0x1600, fields(b""), MAYBE),
    "CAS_WRITE_UNKNOWN": (0x1700, fields(ONE_OF_TWO), MAYBE),
    "SYNTAX_ERROR": (0x2000, fields(b""), REFUSED),
    "UNAUTHORIZED": (0x2100, fields(b""), REFUSED),
    "INVALID": (0x2200, fields(b""), REFUSED),
    "CONFIG_ERROR": (0x2300, fields(b""), REFUSED),
    "ALREADY_EXISTS": (0x2400, fields(string("ks") + string("t")), REFUSED),
    "UNPREPARED": (UNPREPARED, None, FORGOTTEN),
    "RATE_LIMIT of ScyllaDB": (0xF000, fields(b"\1\0"), MAYBE),
    "a code of nobody": (0x7777, fields(b"\1\2\3"), MAYBE),
}

SUCCESS, WHOLE, OVERLOADED, WRITE_TIMEOUT, INVALID = "success", "the error, whole", 0x1001, 0x1100, 0x2200

# A write that one side has is a success; the other owes it, whatever it said. If both fail, the less definite is told
# (S15), from the most definite to the least, and a "maybe" is owed by both.
WRITE_OF_NOBODY = {REFUSED: WHOLE, NOT_APPLIED: WHOLE, FORGOTTEN: OVERLOADED, MAYBE: WRITE_TIMEOUT}

# Errors of both sides that are not of one kind.
DIFFERENT = [
    ("INVALID", "OVERLOADED"),
    ("INVALID", "SERVER_ERROR"),
    ("INVALID", "UNPREPARED"),
    ("SYNTAX_ERROR", "UNAUTHORIZED"),
    ("UNAVAILABLE", "WRITE_TIMEOUT SIMPLE"),
    ("OVERLOADED", "WRITE_TIMEOUT BATCH_LOG"),
    ("READ_TIMEOUT", "UNPREPARED"),
]

QUERY, EXECUTE, BATCH = 0x07, 0x0A, 0x0D
INSERT = "INSERT INTO ks.t (k, v) VALUES (%s, 'v')"
COUNT = "UPDATE ks.c SET n = n + 1 WHERE k = %s"
CREATE = "CREATE TABLE ks.t (k text PRIMARY KEY) WITH comment = %s"
UNKNOWN = "FROBNICATE ks.t FOR %s"
SELECT = "SELECT v FROM ks.t WHERE k = %s"
LOGGED, COUNTED = 0, 2


@dataclasses.dataclass(frozen=True)
class Request:
    opcode: int
    text: str
    # What an own WRITE_TIMEOUT must call it; none of a read.
    write_type: str | None
    repeatable: bool = True
    one_partition: bool = True
    # Goes to A alone.
    conditional: bool = False
    # These go to A, then to B.
    schema: bool = False
    unknown: bool = False
    batch: int = LOGGED


REQUESTS = {
    "write by QUERY": Request(QUERY, INSERT, "SIMPLE"),
    "write by EXECUTE": Request(EXECUTE, INSERT, "SIMPLE"),
    "BATCH": Request(BATCH, INSERT, "BATCH", one_partition=False),
    "count by QUERY": Request(QUERY, COUNT, "COUNTER", repeatable=False),
    "count by EXECUTE": Request(EXECUTE, COUNT, "COUNTER", repeatable=False),
    "BATCH of counts": Request(BATCH, COUNT, "COUNTER", repeatable=False, one_partition=False, batch=COUNTED),
    "schema by QUERY": Request(QUERY, CREATE, "", schema=True),
    "schema by EXECUTE": Request(EXECUTE, CREATE, "", schema=True),
    "unknown by QUERY": Request(QUERY, UNKNOWN, "SIMPLE", one_partition=False, unknown=True),
    "conditional BATCH": Request(BATCH, f"{INSERT} IF NOT EXISTS", "CAS", one_partition=False, conditional=True),
    "conditional by QUERY": Request(QUERY, f"{INSERT} IF NOT EXISTS", "CAS", one_partition=False, conditional=True),
    "conditional by EXECUTE": Request(EXECUTE, f"{INSERT} IF NOT EXISTS", "CAS", one_partition=False, conditional=True),
    "read by QUERY": Request(QUERY, SELECT, None),
    "read by EXECUTE": Request(EXECUTE, SELECT, None),
}

# name: (version, flags of the node's answer, whether the client speaks LZ4)
ALL = TRACING | WARNINGS
DRESSES = {
    "plain": (4, 0, False),
    "tracing": (4, TRACING, False),
    "warnings": (4, WARNINGS, False),
    "lz4": (4, COMPRESSED, False),
    "all": (4, ALL | COMPRESSED, True),
    "v5": (5, 0, False),
    "v5 all": (5, ALL, True),
}
GIVERS = ("A", "B", "AB")


@dataclasses.dataclass(frozen=True)
class Expected:
    """What the design wants of one case."""

    # SUCCESS, WHOLE, or the code of an error of the proxy's own.
    heard: object
    # Whose answer it may be.
    by: str
    # Who has applied it in the end, and who gave the error that it was told to give.
    has: str
    gave: str
    owed: str = ""
    parked: str = ""
    diverged: str = ""


def meaning(request, error):
    says = ERRORS[error][2]
    if says == FORGOTTEN and request.opcode != QUERY:
        return None  # healed inside
    return MAYBE if says == NOT_APPLIED and not request.one_partition else says


def expected(request, said):
    if request.schema:
        return of_schema(said)
    if request.unknown:
        return of_unknown({side: meaning(request, error) for side, error in said.items()})
    if request.conditional:
        return of_conditional(meaning(request, said.get("A")) if "A" in said else None, said)
    failed = {side: what for side, error in said.items() if (what := meaning(request, error))}
    gave = "".join(said)
    return of_read(failed, gave) if request.write_type is None else of_write(request, failed, gave)


def of_write(request, failed, gave):
    has = others(failed)
    if not failed:
        return Expected(SUCCESS, "", has, gave)
    told = max(failed.values(), key=list(WRITE_OF_NOBODY).index)
    owed = "".join(failed) if has or told == MAYBE else ""
    # What may have been applied is not repeated blindly (S13).
    parked = owed if told == MAYBE and not request.repeatable else ""
    has += others(has) if owed and not parked else ""
    if others(failed):
        return Expected(SUCCESS, "", has, gave, owed, parked, diverged=owed if told == REFUSED else "")
    by = "".join(side for side, what in failed.items() if what == told)
    return Expected(WRITE_OF_NOBODY[told], by, has, gave, owed, parked)


def of_read(failed, gave):
    """A is asked; B, once, if A is sick."""
    asked = "AB" if failed.get("A", REFUSED) != REFUSED else "A"
    gave = "".join(side for side in gave if side in asked)
    last = asked[-1]
    if last not in failed:
        return Expected(SUCCESS, last, last, gave)
    if FORGOTTEN in failed.values():
        return Expected(OVERLOADED, "", "", gave)
    return Expected(WHOLE, last if failed[last] == REFUSED else asked, "", gave)


def of_conditional(says, said):
    """A alone is asked, and nothing is owed to B. A's own words pass where they say that nobody knows."""
    gave = "A" if "A" in said else ""
    if says is None:
        return Expected(SUCCESS, "", "A", gave)
    if says == FORGOTTEN:
        return Expected(OVERLOADED, "", "", gave)
    # Drivers repeat a timeout of the batch log (S15).
    says_so = ERRORS[said["A"]][0] in (0x1100, 0x1500, 0x1700) and said["A"] != "WRITE_TIMEOUT BATCH_LOG"
    return Expected(WHOLE if says == REFUSED or says_so else WRITE_TIMEOUT, "A", "", gave)


def of_schema(said):
    """B is asked what A accepted, or has already; an error that only B gave says which side has it."""
    home, other = said.get("A"), said.get("B")
    asked = "AB" if home in (None, "ALREADY_EXISTS") else "A"
    gave = "".join(side for side in said if side in asked)
    has = "".join(side for side in asked if side not in said)
    if home is not None:
        # A schema change has no id, even if it was prepared.
        return Expected(INVALID if home == "UNPREPARED" else WHOLE, "A", has, gave)
    return Expected(SUCCESS if other == "ALREADY_EXISTS" else INVALID, "", has, gave)


def of_unknown(said):
    """B is asked what A accepted. What only A took is ambiguous whatever B says (S15), and never replayed."""
    if "A" in said:
        return Expected(WRITE_OF_NOBODY[said["A"]], "A", has="", gave="A")
    return Expected(WRITE_TIMEOUT, "", has="A", gave="B", diverged="B" if said["B"] == REFUSED else "")


def others(sides):
    return "".join(side for side in "AB" if side not in sides)


@dataclasses.dataclass
class Case:
    said: dict
    asked: str
    dress: str

    @property
    def key(self):
        """In what is asked for, so that a node knows the case and a repetition of it."""
        said = ", ".join(f"{side} {error}" for side, error in self.said.items())
        return f"<{said} / {self.asked} / {self.dress}>"

    @property
    def expected(self):
        return expected(REQUESTS[self.asked], self.said)

    def content(self, side):
        """The error of this side, without what its flags announce."""
        code, fields_of, _ = ERRORS[self.said[side]]
        # Long enough to be compressed.
        message = f"{side} said so of {self.key} " + "and said it again " * 8
        return struct.pack(">i", code) + string(message) + fields_of(DRESSES[self.dress][0])


class Node:
    """What one fake is to refuse, once each, and what it took."""

    def __init__(self, name, fake):
        self.name, self.fake = name, fake
        self.cases, self.took, self.gave = {}, collections.Counter(), set()
        fake.versions = (3, 4, 5)
        fake.refusal = self.refusal

    def refusal(self, opcode, body):
        key = re.search(rb"<[^<>]+>", body)
        if key is None:
            return None
        key = key.group().decode()
        case = self.cases.pop(key, None)
        if case is None:
            self.took[key] += 1
            return None
        self.gave.add(key)
        _, flags, _ = DRESSES[case.dress]
        forgot = ERRORS[case.said[self.name]][2] == FORGOTTEN
        return flags, unprepared(opcode, body) if forgot else case.content(self.name)


class Connection:
    """A client that keeps what it hears whole: flags, opcode, body."""

    @classmethod
    async def open(cls, port, version, lz4):
        self = cls()
        self.version, self.lz4 = version, lz4
        self.waiting, self.last, self.strays = {}, 100, []
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        self.task = asyncio.ensure_future(self.read())
        options = {"CQL_VERSION": "3.0.0"} | ({"COMPRESSION": "lz4"} if lz4 else {})
        told = b"".join(string(key) + string(value) for key, value in options.items())
        assert (await self.ask(0x01, struct.pack(">H", len(options)) + told))[1] == 0x02
        return self

    async def read(self):
        try:
            while True:
                _, flags, stream, opcode, length = struct.unpack(">BBhBI", await self.reader.readexactly(9))
                body = await self.reader.readexactly(length)
                if opcode == 0x02 and self.version == 5:
                    self.reader = self.writer = Segments(self.reader, self.writer, self.lz4)
                if flags & COMPRESSED:
                    body = unpack(body)
                asked = self.waiting.pop(stream, None)
                if asked is None:
                    self.strays.append((stream, opcode, body))
                else:
                    asked.set_result((flags & ~COMPRESSED, opcode, body))
        except (asyncio.IncompleteReadError, OSError) as error:
            for asked in self.waiting.values():
                asked.set_exception(ConnectionError(str(error)))

    def ask(self, opcode, body, flags=0):
        self.last += 1
        asked = self.waiting[self.last] = asyncio.get_running_loop().create_future()
        if self.lz4 and self.version < 5 and opcode != 0x01:
            flags, body = flags | COMPRESSED, pack(body)
        self.writer.write(struct.pack(">BBhBI", self.version, flags, self.last, opcode, len(body)) + body)
        return asyncio.wait_for(asked, 20)

    async def prepare(self, text):
        """What stands before the parameters of an EXECUTE, and the id alone."""
        body = long_bytes(text.encode()) + (bytes(4) if 5 <= self.version else b"")
        _, opcode, told = await self.ask(0x09, body)
        assert opcode == 0x08, told
        (length,) = struct.unpack_from(">H", told, 4)
        identity = told[4 : 6 + length]
        (columns,) = struct.unpack_from(">H", told, 6 + length)
        return identity + (told[6 + length : 8 + length + columns] if 5 <= self.version else b""), identity

    async def send(self, request, key, flags):
        """Its answer. A batch has a prepared child and one of text."""
        text = long_bytes((request.text % f"'{key}'").encode())
        if request.opcode == QUERY:
            return await self.ask(QUERY, text + self.parameters(0), flags)
        known, identity = await self.prepare(request.text % "?")
        values = struct.pack(">H", 1) + long_bytes(key.encode())
        if request.opcode == EXECUTE:
            return await self.ask(EXECUTE, known + self.parameters(1) + values, flags)
        children = b"\1" + identity + values + b"\0" + text + bytes(2)
        return await self.ask(BATCH, struct.pack(">BH", request.batch, 2) + children + self.parameters(0), flags)

    def parameters(self, flags):
        """LOCAL_QUORUM, and the flags of what follows."""
        return struct.pack(">HB" if self.version < 5 else ">HI", 6, flags)


COUNTED_BY = {
    "owed": "helix_replay_enqueued_total",
    "diverged": "helix_divergence_total",
}


class Matrix:
    """One proxy before one pair of fakes, for all cases."""

    @classmethod
    async def open(cls, directory):
        self = cls()
        self.nodes = {name: Node(name, await Fake(name).start()) for name in "AB"}
        self.proxy = Proxy(
            directory,
            *(node.fake.contact_point for node in self.nodes.values()),
            workers=1,
            compression=("lz4", "lz4"),
            # Cases must not see each other: nobody is taken out, no read avoids who owes the writes of another case.
            failover={"threshold": 1_000_000},
            reads={"preferred": "A", "prefer_fresh": False},
        )
        await asyncio.to_thread(self.proxy.start)
        await asyncio.to_thread(self.proxy.wait_ready)
        ways = {(version, lz4) for version, _, lz4 in DRESSES.values()}
        self.clients = {way: await Connection.open(self.proxy.port, *way) for way in ways}
        self.counted, self.parked = await asyncio.to_thread(self.count)
        return self

    def count(self):
        text = self.proxy.get("/metrics")[1]
        totals = collections.Counter()
        for what, name in COUNTED_BY.items():
            for side, value in re.findall(rf'^{name}{{cluster="(.)"}} (\d+)', text, re.MULTILINE):
                totals[what, side] = int(value)
        parked = sum(map(int, re.findall(r"^helix_replay_parked_total{.*?} (\d+)", text, re.MULTILINE)))
        return totals, parked

    async def play(self, cases):
        """What was otherwise than expected."""
        for case, side in itertools.product(cases, "AB"):
            if side in case.said:
                self.nodes[side].cases[case.key] = case
        faults = itertools.chain(*await asyncio.gather(*map(self.hear, cases)))
        strays = (f"nobody asked for {stray}" for it in self.clients.values() for stray in it.strays)
        return [*faults, *await self.settle(cases), *strays]

    async def hear(self, case):
        version, flags, lz4 = DRESSES[case.dress]
        client = self.clients[version, lz4]
        heard = await client.send(REQUESTS[case.asked], case.key, flags & TRACING)
        wrong = self.judge(case, heard)
        gave = "".join(side for side in "AB" if case.key in self.nodes[side].gave)
        if gave != case.expected.gave:
            wrong = f"{gave or 'nobody'} gave the error"
        return [f"{case.key}: {wrong}; {case.expected}; heard {heard}"] if wrong else []

    def judge(self, case, heard):
        want, (flags, opcode, body) = case.expected, heard
        if want.heard == SUCCESS:
            if REQUESTS[case.asked].write_type is not None:
                return heard != (0, 0x08, VOID) and "not a success"
            return (flags, opcode) != (0, 0x08) or cells((opcode, body))[0][1].decode() != want.by and "not its rows"
        if want.heard == WHOLE:
            flags = DRESSES[case.dress][1] & ~COMPRESSED
            whole = [(flags, 0x00, dressed(flags, case.content(side))) for side in want.by]
            return heard not in whole and "not the node's error"
        return self.judge_own(case, heard)

    def judge_own(self, case, heard):
        want, (flags, opcode, body) = case.expected.heard, heard
        if (flags, opcode) != (0, 0x00) or struct.unpack_from(">i", body)[0] != want:
            return "not the proxy's error"
        if want == INVALID:
            return b"cluster A" not in body and "does not name the cluster"
        if b"said so of" in body:
            return "a node's words"
        if want == OVERLOADED:
            return None
        (length,) = struct.unpack_from(">H", body, 4)
        consistency, received, needed = struct.unpack_from(">Hii", body, 6 + length)
        tail = string(REQUESTS[case.asked].write_type)
        if tail == string("CAS") and DRESSES[case.dress][0] == 5:
            tail += bytes(2)
        if (consistency, body[16 + length :]) != (6, tail) or needed <= received:
            return "not what was asked"
        return None

    async def settle(self, cases):
        """Waits until what is owed is replayed or parked; what then differs from what was expected."""
        wants = [case.expected for case in cases]
        owed = collections.Counter()
        for want in wants:
            owed.update(("owed", side) for side in want.owed)
            owed.update(("diverged", side) for side in want.diverged)
        parked = self.parked + sum(len(want.parked) for want in wants)
        for _ in range(500):
            counted, now_parked = await asyncio.to_thread(self.count)
            missing = self.missing(cases)
            if not missing and (counted, now_parked) == (self.counted + owed, parked):
                break
            await asyncio.sleep(0.01)
        else:
            missing.append(f"counted {counted - self.counted}, not {owed}; {now_parked} parked, not {parked}")
        self.counted, self.parked = counted, now_parked
        return missing

    def missing(self, cases):
        """A batch arrives once, as a whole, whatever it holds."""
        found = []
        for case, (side, node) in itertools.product(cases, self.nodes.items()):
            want = int(side in case.expected.has)
            if node.took[case.key] != want:
                found.append(f"{case.key}: {side} took it {node.took[case.key]} times; {case.expected}")
        return found

    async def close(self):
        await asyncio.to_thread(self.proxy.stop)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    with asyncio.Runner() as runner:
        matrix = runner.run(Matrix.open(tmp_path_factory.mktemp("matrix")))
        yield lambda play: runner.run(play(matrix))
        runner.run(matrix.close())


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("asked", REQUESTS)
def test_an_error_ends_as_the_design_says(matrix, asked, error):
    said = [dict.fromkeys(givers, error) for givers in GIVERS]
    wrong = matrix(lambda stage: stage.play([Case(it, asked, dress) for it in said for dress in DRESSES]))
    assert not wrong, "\n".join(wrong)


# Which of a read's sick answers is told is not promised, so UNPREPARED may hide behind the other.
TWO = [
    (asked, errors)
    for asked, errors in itertools.product(REQUESTS, DIFFERENT)
    if REQUESTS[asked].write_type is not None or "UNPREPARED" not in errors
]


@pytest.mark.parametrize("asked, errors", TWO, ids=lambda it: it if isinstance(it, str) else " and ".join(it))
def test_of_two_errors_the_less_definite_counts(matrix, asked, errors):
    said = [dict(zip("AB", order)) for order in (errors, errors[::-1])]
    wrong = matrix(lambda stage: stage.play([Case(it, asked, dress) for it in said for dress in DRESSES]))
    assert not wrong, "\n".join(wrong)


def test_what_a_cluster_goes_on_refusing_is_parked_and_what_it_fails_stays_owed(stage):
    names = {f"<{error}>": error for error in ERRORS}
    for_good = {name for name, error in names.items() if ERRORS[error][2] == REFUSED}

    def refusal(opcode, body):
        (name,) = (it for it in names if it.encode() in body)
        code, fields_of, says = ERRORS[names[name]]
        forgot = says == FORGOTTEN
        return 0, unprepared(opcode, body) if forgot else struct.pack(">i", code) + string("no") + fields_of(4)

    async def story(a, b, proxy):
        b.refusal = refusal
        client = await Client.open(proxy.port)
        for name in names:
            assert await client.query(INSERT % f"'{name}'") == (0x08, VOID), name
        for _ in range(100):
            if len(for_good) <= await asyncio.to_thread(proxy.metric, "helix_replay_dead_letters"):
                break
            await asyncio.sleep(0.1)
        code, told, _ = await asyncio.to_thread(proxy.command, "dlq", "list", "--json")
        letters = {it["content"]["statements"][0]["text"]: it["reason"] for it in json.loads(told)["letters"]}
        assert code == 0 and letters == {INSERT % f"'{name}'": "refused" for name in for_good}
        assert await asyncio.to_thread(proxy.owed) == len(names) - len(for_good)
        b.refusal = lambda opcode, body: None
        await asyncio.to_thread(proxy.wait_drained, 10)
        assert {name for name in names if any(name in text for _, text in b.applied)} == names.keys() - for_good

    quick = {"divergence_grace": "1s", "retry_max": "500ms"}
    stage(story, failover={"threshold": 1_000_000}, replay=quick)
