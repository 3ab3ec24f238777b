"""What a result of 200 MiB takes: its bytes are held once, however slowly its client reads, and given back."""

import asyncio
import io
import os
import pathlib
import re
import socket
import struct
import threading
import time

import pytest
from cassandra.segment import Segment

from fakes import COMPRESSED, Client, Fake, long_bytes, string
from proxy import Proxy
from segments import Segments, pack, unpack

MIB = 1 << 20
SIZE = 200 * MIB
# Beside the result: read buffers, what the sockets' wake-ups leave behind, the allocator's own.
SLACK = 32 * MIB
SECONDS = 120
# One row that LZ4 cannot shrink, and a page behind it, whose state the proxy makes longer.
ROW = struct.pack(">i", 1) + long_bytes(os.urandom(MIB) * (SIZE // MIB))


def result(state):
    return struct.pack(">iii", 2, 6, 1) + long_bytes(state) + ROW


class Wide(Fake):
    """A node with one row of `SIZE` bytes, written as fast as it is read."""

    compresses = False

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.turns = {}

    async def handle(self, writer, keyspace, stream, opcode, body, version=4):
        # No other answer may come between the parts of this one.
        async with self.turns.setdefault(writer, asyncio.Lock()):
            await self.take_turn(writer, keyspace, stream, opcode, body, version)

    async def take_turn(self, writer, keyspace, stream, opcode, body, version):
        if opcode != 0x07 or b" ks.wide" not in body:
            return await super().handle(writer, keyspace, stream, opcode, body, version)
        content = result(b"more")
        flags, content = (COMPRESSED, pack(content)) if self.compresses else (0, content)
        head = struct.pack(">BBhBI", 0x80 | version, flags, stream, 0x08, len(content))
        for part in parts(head, content):
            if isinstance(writer, Segments):
                out = io.BytesIO()
                writer.codec._encode_segment(out, bytes(part), False)
                writer.writer.write(out.getvalue())
                await writer.writer.drain()
            else:
                writer.write(part)
                await writer.drain()


def parts(head, content, size=Segment.MAX_PAYLOAD_LENGTH):
    first = size - len(head)
    yield head + content[:first]
    view = memoryview(content)
    for at in range(first, len(content), size):
        yield view[at : at + size]


class Reader:
    """A client with a thread of its own, which reads when it is told to."""

    def __init__(self, port, version, compression):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.version, self.compression, self.segments = version, compression, None
        options = {"CQL_VERSION": "3.0.0"} | ({"COMPRESSION": "lz4"} if compression else {})
        body = struct.pack(">H", len(options)) + b"".join(string(key) + string(value) for key, value in options.items())
        self.socket.sendall(struct.pack(">BBhBI", version, 0, 1, 0x01, len(body)) + body)
        assert self.exactly(9)[4] == 0x02
        if version == 5:
            self.segments = Segments(None, None, compression)

    def ask(self):
        text = b"SELECT v FROM ks.wide"
        body = long_bytes(text) + struct.pack(">HB", 1, 0) + (bytes(3) if self.version == 5 else b"")
        frame = struct.pack(">BBhBI", self.version, 0, 1, 0x07, len(body)) + body
        if self.segments:
            out = io.BytesIO()
            self.segments.codec.encode(out, frame)
            frame = out.getvalue()
        self.socket.sendall(frame)

    def exactly(self, length):
        taken = bytearray()
        while len(taken) < length:
            some = self.socket.recv(min(length - len(taken), MIB))
            assert some, f"the end after {len(taken)} of {length} bytes"
            taken += some
        return bytes(taken)

    def payload(self):
        codec = self.segments.codec
        header = codec.decode_header(io.BytesIO(self.exactly(codec.header_length + 3)))
        return codec.decode(io.BytesIO(self.exactly(header.payload_length + 4)), header).payload

    def take(self):
        """The answer, read to its end."""
        if not self.segments:
            _, flags, _, opcode, length = struct.unpack(">BBhBI", self.exactly(9))
            body = self.exactly(length)
            return opcode, unpack(body) if flags & COMPRESSED else body
        taken = bytearray(self.payload())
        _, _, _, opcode, length = struct.unpack_from(">BBhBI", taken)
        while len(taken) < 9 + length:
            taken += self.payload()
        return opcode, bytes(taken[9:])


def memory(proxy, what):
    text = pathlib.Path(f"/proc/{proxy.process.pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+)", text).group(1)) * 1024


def settled(proxy, least):
    """Until the proxy has taken in at least so much, and nothing moves any more."""
    deadline, before = time.monotonic() + SECONDS, 0
    while True:
        now = memory(proxy, "VmRSS")
        if least <= now and abs(now - before) < MIB // 4:
            return now
        assert time.monotonic() < deadline, f"{now // MIB} MiB, {least // MIB} were to come"
        before = now
        time.sleep(0.5)


def read_all(readers, wanted):
    wrong = []

    def read(reader):
        if reader.take() != (0x08, wanted):
            wrong.append(reader)

    threads = [threading.Thread(target=read, args=[reader]) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * SECONDS)
        assert not thread.is_alive(), "the result never came whole"
    assert not wrong, "another result than the node's"


def measure(tmp_path, request, *, clients, version, compression=False, compresses=False):
    """What the proxy takes beside what it took before: at most in all, and while nobody reads."""
    told = {}

    def story(proxy, others):
        readers = [Reader(proxy.port, version, compression) for _ in range(clients)]
        before = memory(proxy, "VmRSS")
        for number, reader in enumerate(readers, 1):
            reader.ask()
            # One after the other, so that what is held is seen, not what happens to coincide.
            settled(proxy, before + number * SIZE - SLACK)
            others()
        told["unread"] = settled(proxy, before) - before
        read_all(readers, result(b"\xca\x5e" + bytes([version]) + b"Amore"))
        told["peak"] = memory(proxy, "VmHWM") - before
        deadline = time.monotonic() + SECONDS
        while before + SLACK < memory(proxy, "VmRSS"):
            assert time.monotonic() < deadline, f"{memory(proxy, 'VmRSS') // MIB} MiB are kept"
            time.sleep(0.1)
        told["after"] = memory(proxy, "VmRSS") - before
        others()

    async def play():
        a, b = await Wide("A").start(), await Wide("B").start()
        a.versions = b.versions = (3, 4, 5)
        a.compresses = b.compresses = compresses
        proxy = Proxy(
            tmp_path / "proxy",
            a.contact_point,
            b.contact_point,
            workers=1,
            compression=("lz4", "lz4") if compresses else ("none", "none"),
            # From one node, however slowly that one writes.
            reads={"timeout": "120s", "failover_after": "119s"},
        )
        request.addfinalizer(proxy.stop)
        await asyncio.to_thread(proxy.start)
        await asyncio.to_thread(proxy.wait_ready)
        good, loop = await Client.open(proxy.port), asyncio.get_running_loop()

        async def asks():
            assert (await good.query("SELECT k FROM ks.t"))[0] == 0x08

        await asks()
        others = lambda: asyncio.run_coroutine_threadsafe(asks(), loop).result(30)
        await asyncio.to_thread(story, proxy, others)
        await asyncio.to_thread(proxy.stop)

    asyncio.run(play())
    print({what: round(size / MIB) for what, size in told.items()}, "MiB")
    return told


@pytest.mark.parametrize("version, compression", [(4, False), (5, False), (5, True)], ids=["v4", "v5", "v5_lz4"])
@pytest.mark.parametrize("clients", [1, 2])
def test_a_large_result_is_held_once_for_each_client(tmp_path, request, clients, version, compression):
    told = measure(tmp_path, request, clients=clients, version=version, compression=compression)
    assert told["peak"] < clients * SIZE + SLACK


def test_a_result_that_is_compressed_whole_is_held_twice_for_a_moment(tmp_path, request):
    told = measure(tmp_path, request, clients=1, version=4, compression=True)
    assert told["peak"] < 2 * SIZE + SLACK
    assert told["unread"] < SIZE + SLACK


def test_a_result_that_came_compressed_is_held_twice_for_a_moment(tmp_path, request):
    told = measure(tmp_path, request, clients=1, version=4, compresses=True)
    assert told["peak"] < 2 * SIZE + SLACK
    assert told["unread"] < SIZE + SLACK
