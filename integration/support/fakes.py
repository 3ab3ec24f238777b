"""Two clusters that are not real, for what no real one does on demand: late answers at chosen moments.

A `Fake` speaks enough of versions 3 to 5 for the proxy to believe it and notes what it was told to apply; a
`Client` sends frames by hand, so that several can be under way at once.
"""

import asyncio
import hashlib
import struct

from segments import Segments, pack, unpack

VOID = struct.pack(">i", 1)
COMPRESSED, TRACING, PAYLOAD, WARNINGS = 0x01, 0x02, 0x04, 0x08
UNPREPARED = 0x2500


def string(text):
    return short_bytes(text.encode())


def short_bytes(data):
    return struct.pack(">H", len(data)) + data


def long_bytes(data):
    return struct.pack(">i", len(data)) + data


class Fake:
    """One node. Delays are in seconds and apply from the moment they are set."""

    def __init__(self, name):
        self.name = name
        self.ready_after = self.prepared_after = self.applied_after = 0
        self.versions = (3, 4)
        # It lets clients in and tells whoever asks for its options that it shuts down: so often so far.
        self.is_leaving, self.refused_options = False, 0
        # What SUPPORTED says beside the versions.
        self.options = {}
        # So many of the next requests for data are answered UNPREPARED, with these flags and what they announce.
        self.forgets, self.flags = 0, 0
        # Asked about every request for data: the flags and the content of an ERROR, or None.
        self.refusal = lambda opcode, body: None
        # How long SELECTs of data take, each once.
        self.delays = []
        # Whether there is another page behind each.
        self.pages = False
        # Custom payloads that came: opcode and bytes of each. And the one that answers to requests for data bring.
        self.payloads, self.payload = [], b""
        self.applied = []
        self.texts = {}
        self.server = None
        self.writers = set()

    async def start(self, tls=None):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=tls)
        return self

    def hang_up(self):
        """Ends all connections, as a node that restarts."""
        for writer in self.writers:
            writer.close()

    async def leave(self):
        """Nobody is let in any more."""
        self.server.close()
        self.hang_up()

    @property
    def contact_point(self):
        return "127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        keyspace = [None]
        pending = set()
        connection = writer
        self.writers.add(connection)
        try:
            while True:
                head = await reader.readexactly(9)
                version, flags, stream, opcode, length = struct.unpack(">BBhBI", head)
                body = await reader.readexactly(length)
                if flags & COMPRESSED:
                    body = unpack(body)
                if flags & PAYLOAD:
                    length = payload_length(body)
                    self.payloads.append((opcode, body[:length]))
                    body = body[length:]
                if version not in self.versions:
                    content = struct.pack(">i", 0x000A) + string("Invalid or unsupported protocol version")
                    writer.write(struct.pack(">BBhBI", 0x84, 0, 0, 0x00, len(content)) + content)
                    continue
                task = asyncio.ensure_future(self.handle(writer, keyspace, stream, opcode, body, version))
                pending.add(task)
                task.add_done_callback(pending.discard)
                if opcode == 0x01 and version == 5:
                    # Its own answer goes unwrapped.
                    reader = writer = Segments(reader, writer, b"lz4" in body)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.writers.discard(connection)
            connection.close()

    async def handle(self, writer, keyspace, stream, opcode, body, version=4):
        refusal = self.refused(opcode, body) if is_data(opcode, body) else None
        if refusal is None:
            flags, (answer, content) = 0, await self.answer(keyspace, opcode, body, version)
        else:
            flags, answer, content = refusal[0], 0x00, dressed(*refusal)
        if self.payload and is_data(opcode, body):
            flags, content = flags | PAYLOAD, self.payload + content
        writer.write(struct.pack(">BBhBI", 0x80 | version, flags, stream, answer, len(content)) + content)

    def refused(self, opcode, body):
        """The flags and the content of the ERROR that this request gets, if it gets one."""
        if not self.forgets:
            return self.refusal(opcode, body)
        self.forgets -= 1
        return self.flags, unprepared(opcode, body)

    async def answer(self, keyspace, opcode, body, version):
        if opcode == 0x01:
            await asyncio.sleep(self.ready_after)
            return 0x02, b""
        if opcode == 0x05 and self.is_leaving:
            self.refused_options += 1
            return 0x00, struct.pack(">i", 0x1001) + string("Server is shutting down")
        if opcode == 0x05:
            options = {"PROTOCOL_VERSIONS": [f"{it}/v{it}" for it in self.versions]} | self.options
            told = (string(key) + struct.pack(">H", len(values)) + b"".join(map(string, values)) for key, values in options.items())
            return 0x06, struct.pack(">H", len(options)) + b"".join(told)
        if opcode == 0x07:
            (length,) = struct.unpack_from(">i", body)
            return await self.run(keyspace, body[4 : 4 + length].decode())
        if opcode == 0x09:
            (length,) = struct.unpack_from(">i", body)
            return await self.prepare(body[4 : 4 + length].decode(), version)
        if opcode == 0x0A:
            (length,) = struct.unpack_from(">H", body)
            return await self.run(keyspace, self.texts[body[2 : 2 + length]])
        if opcode == 0x0D:
            return await self.apply([(keyspace[0], *child) for child in self.children(body)])
        return 0x02, b""

    async def run(self, keyspace, text):
        if "system.local" in text:
            cells = [b"fake", b"3.4.5", b"dc1", b"org.apache.cassandra.dht.Murmur3Partitioner", b"r1", b"4.1.0", bytes(16)]
            return 0x08, struct.pack(">iiii", 2, 4, len(cells), 1) + b"".join(map(long_bytes, cells))
        if text.startswith("SELECT") and " FROM ks." in text:
            # One row: the text itself, and whose it is.
            await asyncio.sleep(self.delays.pop(0) if self.delays else 0)
            flags, state = (6, long_bytes(b"page of " + self.name.encode())) if self.pages else (4, b"")
            cells = map(long_bytes, (text.encode(), self.name.encode()))
            return 0x08, struct.pack(">iii", 2, flags, 2) + state + struct.pack(">i", 1) + b"".join(cells)
        if text.startswith("SELECT"):
            return 0x08, struct.pack(">iiii", 2, 4, 6, 0)
        if text.upper().startswith("USE "):
            keyspace[0] = text[4:].strip('"')
            return 0x08, struct.pack(">i", 3) + string(keyspace[0])
        if "overload" in text and self.name == "B":
            return 0x00, struct.pack(">i", 0x1001) + string("overloaded")
        return await self.apply([(keyspace[0], text)])

    async def apply(self, what):
        self.applied += what
        await asyncio.sleep(self.applied_after)
        return 0x08, VOID

    async def prepare(self, text, version=4):
        identity = hashlib.md5((self.name + text).encode()).digest()
        self.texts[identity] = text
        await asyncio.sleep(self.prepared_after)
        markers = text.count("?")
        key = b"" if version < 4 else struct.pack(">i", 0)
        variables = struct.pack(">ii", 1, markers) + key + string("ks") + string("t")
        variables += b"".join(string(f"v{n}") + struct.pack(">H", 0x0D) for n in range(markers))
        if markers == 0:
            variables = struct.pack(">ii", 0, 0) + key
        columns_id = short_bytes(bytes(16)) if 5 <= version else b""
        return 0x08, struct.pack(">i", 4) + short_bytes(identity) + columns_id + variables + struct.pack(">ii", 4, 0)

    def children(self, body):
        at, count = 3, struct.unpack_from(">H", body, 1)[0]
        for _ in range(count):
            prepared = body[at] == 1
            (length,) = struct.unpack_from(">H" if prepared else ">i", body, at + 1)
            at += 3 if prepared else 5
            what = body[at : at + length]
            at += length
            (values,) = struct.unpack_from(">H", body, at)
            at += 2
            bound = []
            for _ in range(values):
                (length,) = struct.unpack_from(">i", body, at)
                bound.append(body[at + 4 : at + 4 + length])
                at += 4 + max(length, 0)
            yield self.texts[what] if prepared else what.decode(), *bound


class Client:
    """Speaks to the proxy; every request is a future of opcode and body."""

    version = 4

    @classmethod
    async def open(cls, port, tls=None, version=4):
        self = cls()
        self.version = version
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        self.waiting, self.last = {}, 0
        self.task = asyncio.ensure_future(self.read())
        assert (await self.ask(0x01, struct.pack(">H", 1) + string("CQL_VERSION") + string("3.0.0")))[0] == 0x02
        return self

    async def read(self):
        try:
            while True:
                _, self.flags, stream, opcode, length = struct.unpack(">BBhBI", await self.reader.readexactly(9))
                self.waiting.pop(stream).set_result((opcode, await self.reader.readexactly(length)))
        except (asyncio.IncompleteReadError, OSError) as error:
            for future in self.waiting.values():
                future.set_exception(ConnectionError(str(error)))

    def ask(self, opcode, body, stream=None, flags=0):
        """On the next stream id, or on this one. `flags` of the last answer are kept."""
        self.last += 1
        stream = stream or self.last
        future = self.waiting[stream] = asyncio.get_running_loop().create_future()
        self.writer.write(struct.pack(">BBhBI", self.version, flags, stream, opcode, len(body)) + body)
        return future

    def query(self, text, stream=None, page=None):
        flags, state = (0, b"") if page is None else (8, long_bytes(page))
        return self.ask(0x07, long_bytes(text.encode()) + struct.pack(">HB", 1, flags) + state, stream)

    async def prepare(self, text):
        opcode, body = await self.ask(0x09, long_bytes(text.encode()))
        assert opcode == 0x08, body
        (length,) = struct.unpack_from(">H", body, 4)
        return body[6 : 6 + length]

    def execute(self, identity, *values):
        bound = struct.pack(">H", len(values)) + b"".join(map(long_bytes, values)) if values else b""
        return self.ask(0x0A, short_bytes(identity) + struct.pack(">HB", 1, 1 if values else 0) + bound)

    def batch(self, *children):
        body = struct.pack(">BH", 0, len(children))
        for identity, *values in children:
            body += b"\1" + short_bytes(identity) + struct.pack(">H", len(values))
            body += b"".join(map(long_bytes, values))
        return self.ask(0x0D, body + struct.pack(">HB", 1, 0))


def is_error(answer):
    return answer[0] == 0x00


def code(answer):
    """The code of an ERROR without flags."""
    assert is_error(answer), answer
    return struct.unpack_from(">i", answer[1])[0]


def cells(answer):
    """The values of one row without columns, and the paging state."""
    opcode, body = answer
    assert opcode == 0x08, answer
    kind, flags, columns = struct.unpack_from(">iii", body)
    assert kind == 2, body
    at, found = 12, []
    for _ in range(columns + 1 if flags & 2 else columns):
        if len(found) == (1 if flags & 2 else 0):
            at += 4  # the count of rows
        (length,) = struct.unpack_from(">i", body, at)
        found.append(body[at + 4 : at + 4 + length])
        at += 4 + length
    return (found[1:], found[0]) if flags & 2 else (found, None)


def is_data(opcode, body):
    """Whether it is a request for the tables of a test."""
    return opcode in (0x0A, 0x0D) or (opcode == 0x07 and b" ks." in body)


def unprepared(opcode, body):
    """The content of an UNPREPARED that fits the request."""
    # Of a batch its first child, which is a prepared one in tests.
    at = {0x0A: 0, 0x0D: 4}.get(opcode)
    (length,) = (0,) if at is None else struct.unpack_from(">H", body, at)
    identity = bytes(16) if at is None else body[at + 2 : at + 2 + length]
    return struct.pack(">i", UNPREPARED) + string("who?") + short_bytes(identity)


def payload_of(**entries):
    """A custom payload."""
    pairs = (string(key) + long_bytes(value) for key, value in entries.items())
    return struct.pack(">H", len(entries)) + b"".join(pairs)


def payload_length(body):
    """How many bytes of a body are the custom payload before it."""
    (count,), at = struct.unpack_from(">H", body), 2
    for _ in range(count):
        at += 2 + struct.unpack_from(">H", body, at)[0]
        at += 4 + max(0, struct.unpack_from(">i", body, at)[0])
    return at


def dressed(flags, content):
    """A body behind what its flags announce."""
    head = bytes(16) if flags & TRACING else b""
    if flags & WARNINGS:
        head += struct.pack(">H", 1) + string("a warning")
    return pack(head + content) if flags & COMPRESSED else head + content
