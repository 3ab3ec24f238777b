"""Traps of the wire that others fell into, each by the name that the list of them gives it."""

import asyncio
import pathlib
import re
import struct

import pytest

from fakes import (
    COMPRESSED,
    PAYLOAD,
    TRACING,
    UNPREPARED,
    VOID,
    WARNINGS,
    Client,
    cells,
    code,
    is_error,
    long_bytes,
    payload_of,
    string,
)

INSERT = "INSERT INTO ks.t (k, v) VALUES ('x', 'y')"
SELECT = "SELECT v FROM ks.t WHERE k = 'x'"
READ_TIMEOUT, INVALID, PROTOCOL_ERROR = 0x1200, 0x2200, 0x000A
MIB = 1 << 20
EVERY_FLAGS = [TRACING, WARNINGS, COMPRESSED, TRACING | WARNINGS | COMPRESSED]


@pytest.mark.parametrize("flags", [0, *EVERY_FLAGS])
@pytest.mark.parametrize("forgetful", ["A", "B"])
def test_t3_unprepared_of_either_cluster_is_healed_however_it_is_dressed(stage, forgetful, flags):
    async def story(a, b, proxy):
        node = a if forgetful == "A" else b
        client = await Client.open(proxy.port)
        insert = await client.prepare("INSERT INTO ks.t (k, v) VALUES (?, ?)")
        assert await client.execute(insert, b"k", b"v") == (0x08, VOID)
        for send in (
            lambda: client.execute(insert, b"k", b"v"),
            lambda: client.batch((insert, b"k", b"v"), (insert, b"l", b"v")),
        ):
            for times in (1, 2):
                node.forgets, node.flags = times, flags
                assert await send() == (0x08, VOID)
                assert node.forgets == 0
        assert a.applied == b.applied and len(a.applied) == 1 + 2 + 4

    stage(story, compression=("lz4", "lz4") if flags & COMPRESSED else ("none", "none"))


@pytest.mark.parametrize("flags", [0, *EVERY_FLAGS])
def test_t3_unprepared_to_a_query_is_a_sick_clusters_and_never_a_clients_affair(stage, flags):
    async def story(a, b, proxy):
        client = await Client.open(proxy.port)
        b.forgets, b.flags = 1, flags
        assert await client.query(INSERT) == (0x08, VOID)
        a.forgets, a.flags = 1, flags
        answer = await client.query(SELECT)
        assert not is_error(answer) or code(answer) != UNPREPARED
        for _ in range(100):
            if len(b.applied) == 1:
                break
            await asyncio.sleep(0.1)
        assert len(a.applied) == len(b.applied) == 1, "what B refused is replayed"

    stage(story, compression=("lz4", "lz4") if flags & COMPRESSED else ("none", "none"))


def test_t5_a_late_answer_is_nobody_elses_who_uses_the_stream_id_again(stage):
    async def story(a, b, proxy):
        client = await Client.open(proxy.port)
        a.delays, b.delays = [1.2], [1.2]
        first = await client.query("SELECT v FROM ks.slow WHERE k = 'x'", stream=7)
        assert code(first) == READ_TIMEOUT
        for number in range(20):
            text = f"SELECT v FROM ks.t WHERE k = '{number}'"
            (told, _), _ = cells(await client.query(text, stream=7))
            assert told.decode() == text
            await asyncio.sleep(0.05)

    stage(story, reads={"timeout": "500ms", "failover_after": "200ms", "preferred": "A"})


def test_t6_a_paging_that_lost_its_cluster_ends_and_never_begins_again(stage):
    async def story(a, b, proxy):
        a.pages = b.pages = True
        client = await Client.open(proxy.port)
        (_, of), state = cells(await client.query(SELECT))
        assert of == b"A"
        (_, of), state = cells(await client.query(SELECT, page=state))
        assert of == b"A", "the second page is the same cluster's"
        await a.leave()
        answer = await client.query(SELECT, page=state)
        assert is_error(answer) and code(answer) == READ_TIMEOUT
        (_, of), other = cells(await client.query(SELECT))
        assert of == b"B", "a new one begins with the other cluster"
        (_, of), _ = cells(await client.query(SELECT, page=other))
        assert of == b"B"

    stage(story, reads={"preferred": "A"})


def test_t12_a_length_of_4_gib_is_refused_and_takes_no_memory(stage):
    async def story(a, b, proxy):
        served = await Client.open(proxy.port)
        assert await served.query(INSERT) == (0x08, VOID)
        before, reserved = memory(proxy, "VmRSS"), memory(proxy, "VmSize")
        held = []
        for length in (0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, (256 << 20) + 1):
            for ready in (False, True):
                for _ in range(8):
                    held.append(await claims(proxy.port, length, ready))
        # As much as is allowed, claimed and not sent: memory grows with what arrives.
        for _ in range(32):
            held.append(await claims(proxy.port, 256 << 20, True, refused=False))
        assert await served.query(INSERT) == (0x08, VOID)
        grown, peak = memory(proxy, "VmRSS") - before, memory(proxy, "VmPeak") - reserved
        assert grown < 16 * MIB, f"{grown // MIB} MiB more for lengths that were only claimed"
        assert peak < 256 * MIB, f"{peak // MIB} MiB reserved"
        for writer in held:
            writer.close()

    stage(story)


async def claims(port, length, ready, refused=True):
    """Says that so long a QUERY comes, and sends a little of it. Whoever is refused is told so and hung up on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if ready:
        body = struct.pack(">H", 1) + string("CQL_VERSION") + string("3.0.0")
        writer.write(struct.pack(">BBhBI", 4, 0, 1, 0x01, len(body)) + body)
        assert (await reader.readexactly(9))[4] == 0x02
    writer.write(struct.pack(">BBhBI", 4, 0, 7, 0x07, length) + b"x" * 100)
    if refused:
        head = await asyncio.wait_for(reader.readexactly(9), 20)
        assert (head[4], struct.unpack(">h", head[2:4])) == (0x00, (7,))
        told = await asyncio.wait_for(reader.readexactly(struct.unpack(">I", head[5:])[0]), 20)
        assert struct.unpack_from(">i", told) == (PROTOCOL_ERROR,) and b"is above the limit" in told
        assert await asyncio.wait_for(reader.read(), 20) == b""
    return writer


def memory(proxy, what):
    text = pathlib.Path(f"/proc/{proxy.process.pid}/status").read_text()
    return int(re.search(what + r":\s+(\d+)", text).group(1)) * 1024


def test_t16_what_a_cluster_is_capable_of_is_not_what_the_proxy_offers(stage):
    async def story(a, b, proxy):
        scylla = {
            "SCYLLA_SHARD": ["0"],
            "SCYLLA_NR_SHARDS": ["2"],
            "SCYLLA_PARTITIONER": ["org.apache.cassandra.dht.Murmur3Partitioner"],
            "SCYLLA_SHARD_AWARE_PORT": ["19042"],
            "SCYLLA_LWT_ADD_METADATA_MARK": ["LWT_OPTIMIZATION_META_BIT_MASK=2147483648"],
            "TABLETS_ROUTING_V1": [""],
            "COMPRESSION": ["lz4", "zstd"],
        }
        a.options = b.options = scylla
        a.hang_up()
        b.hang_up()
        await asyncio.sleep(1)
        client = await Client.open(proxy.port)
        opcode, body = await client.ask(0x05, b"")
        assert opcode == 0x06
        assert b"SCYLLA" not in body and b"TABLETS" not in body and b"zstd" not in body
        for key in ("CQL_VERSION", "COMPRESSION", "PROTOCOL_VERSIONS"):
            assert string(key) in body

    stage(story)


def test_t23_a_custom_payload_reaches_both_clusters_and_that_of_an_answer_the_client(stage):
    async def story(a, b, proxy):
        client = await Client.open(proxy.port)
        alter = "ALTER TABLE ks.t ADD w int"
        prepared = await client.prepare(INSERT)
        asked, told = payload_of(who=b"me", why=b""), payload_of(source=b"a node", trace=bytes(300))
        requests = [
            (0x07, long_bytes(INSERT.encode()) + struct.pack(">HB", 1, 0)),
            (0x07, long_bytes(SELECT.encode()) + struct.pack(">HB", 1, 0)),
            (0x0A, struct.pack(">H", len(prepared)) + prepared + struct.pack(">HB", 1, 0)),
            (0x0D, struct.pack(">BHB", 0, 1, 0) + long_bytes(INSERT.encode()) + struct.pack(">HHB", 0, 1, 0)),
            (0x07, long_bytes(alter.encode()) + struct.pack(">HB", 1, 0)),
        ]
        for opcode, body in requests:
            for fake in (a, b):
                fake.payloads, fake.payload = [], told
            answer = await client.ask(opcode, asked + body, flags=PAYLOAD)
            assert answer[0] == 0x08, answer
            assert answer[1].startswith(told) and client.flags == PAYLOAD, answer
            sides = [a] if b"SELECT" in body else [a, b]
            assert [fake.payloads for fake in sides] == [[(opcode, asked)]] * len(sides), body
            assert all(it.endswith((INSERT, alter)) for _, it, *_ in a.applied)

    stage(story, reads={"preferred": "A"})
