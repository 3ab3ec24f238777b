"""What a client that compresses can make the proxy hold, for bytes that it sent."""

import asyncio
import pathlib
import re
import struct

from fakes import Client, Fake, long_bytes, short_bytes, string
from proxy import Proxy

MIB = 1 << 20
OVERLOADED = 0x1001
BODY = 60 * MIB
CLIENTS = 12
# The bound of one thread (128 MiB), as request, to A, to B, and as record, with some room.
PEAK = 640 * MIB


class Deaf(Fake):
    """A node that stops reading what is bound to a keyspace."""

    deaf = False

    async def serve(self, reader, writer):
        keyspace = [None]
        try:
            while True:
                while self.deaf and keyspace[0]:
                    await asyncio.sleep(0.1)
                _, _, stream, opcode, length = struct.unpack(">BBhBI", await reader.readexactly(9))
                await self.handle(writer, keyspace, stream, opcode, await reader.readexactly(length))
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            writer.close()


class Packer(Client):
    """A client that agreed on LZ4."""

    @classmethod
    async def begin(cls, port):
        client = cls()
        client.reader, client.writer = await asyncio.open_connection("127.0.0.1", port)
        client.waiting, client.last = {}, 0
        client.task = asyncio.ensure_future(client.read())
        options = struct.pack(">H", 2) + b"".join(map(string, ["CQL_VERSION", "3.0.0", "COMPRESSION", "lz4"]))
        assert (await client.ask(0x01, options))[0] == 0x02
        return client

    def send_packed(self, opcode, body):
        self.last += 1
        future = self.waiting[self.last] = asyncio.get_running_loop().create_future()
        self.writer.write(struct.pack(">BBhBI", 4, 1, self.last, opcode, len(body)) + body)
        return future


def lz4(head, zeros, tail):
    """A compressed body: `head`, so many zero bytes, `tail` (at least 15 bytes)."""

    def length(number):
        return b"\xff" * (number // 255) + bytes([number % 255])

    block = b"\xff" + length(len(head) + 1 - 15) + head + b"\0" + b"\1\0" + length(zeros - 1 - 4 - 15)
    block += bytes([0xF0]) + length(len(tail) - 15) + tail
    return struct.pack(">I", len(head) + zeros + len(tail)) + block


def large_batch(statement):
    """A BATCH of a text that needs a keyspace and of one that binds `BODY` zero bytes."""
    text = b"INSERT INTO t (k, v) VALUES (1, 2)"
    head = b"\0\0\2" + b"\0" + struct.pack(">I", len(text)) + text + b"\0\0"
    head += b"\1" + short_bytes(statement) + struct.pack(">H", 2) + long_bytes(b"k") + struct.pack(">i", BODY + 16)
    return lz4(head, BODY, b"\0" * 16 + struct.pack(">HB", 1, 0))


def peak(proxy):
    text = pathlib.Path(f"/proc/{proxy.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", text).group(1)) * 1024


def test_what_compressed_requests_hold_is_bounded(tmp_path, request):
    async def play():
        a, b = await Deaf("A").start(), await Deaf("B").start()
        proxy = Proxy(tmp_path / "proxy", a.contact_point, b.contact_point, workers=1, writes={"timeout": "5s"})
        request.addfinalizer(proxy.stop)
        await asyncio.to_thread(proxy.start)
        await asyncio.to_thread(proxy.wait_ready)
        good = await Client.open(proxy.port)
        statement = await good.prepare("INSERT INTO ks.t (k, v) VALUES (?, ?)")
        clients = []
        for number in range(CLIENTS):
            clients.append(await Packer.begin(proxy.port))
            assert (await clients[-1].query(f"USE ks{number % 6}"))[0] == 0x08
        a.deaf = b.deaf = True
        body = large_batch(statement)
        assert len(body) < MIB
        answers = []
        for client in clients:
            answers.append(client.send_packed(0x0D, body))
            await asyncio.sleep(0.1)
        opcode, told = await good.execute(statement, b"k", b"v")
        assert opcode == 0x08, f"another client's write: {told}"
        answers = await asyncio.gather(*answers)
        refused = struct.pack(">i", OVERLOADED)
        assert any(opcode == 0x00 and told[:4] == refused for opcode, told in answers)
        assert peak(proxy) < PEAK, f"{peak(proxy) // MIB} MiB"
        a.deaf = b.deaf = False
        await asyncio.to_thread(proxy.stop)

    asyncio.run(play())
