"""Traps of the wire that others fell into, each by the name that the list of them gives it."""

import asyncio
import struct

import pytest

from fakes import COMPRESSED, TRACING, UNPREPARED, VOID, WARNINGS, Client, cells, code, is_error, string

INSERT = "INSERT INTO ks.t (k, v) VALUES ('x', 'y')"
SELECT = "SELECT v FROM ks.t WHERE k = 'x'"
READ_TIMEOUT, INVALID = 0x1200, 0x2200
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
