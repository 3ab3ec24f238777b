"""Clients are offered the highest protocol version that both clusters speak, as far as it is known (S21)."""

import asyncio
import struct

import pytest

from fakes import VOID, Client, Fake, long_bytes, short_bytes, string
from proxy import Proxy

SUPPORTED, ERROR, READY = 0x06, 0x00, 0x02


async def first_answer(port, version, opcode=0x05, body=b""):
    """The opcode and body that a new client of this version hears, and its connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(struct.pack(">BBhBI", version, 0, 1, opcode, len(body)) + body)
    _, _, _, opcode, length = struct.unpack(">BBhBI", await reader.readexactly(9))
    return opcode, await reader.readexactly(length), (reader, writer)


async def offered(proxy):
    """The highest version that the proxy answers OPTIONS in."""
    for version in (5, 4, 3):
        opcode, told, (_, writer) = await first_answer(proxy.port, version)
        writer.close()
        if opcode == SUPPORTED:
            return version
        assert opcode == ERROR and b"unsupported protocol version" in told
    raise AssertionError("no version is offered")


async def until_offered(proxy, version):
    for _ in range(100):
        if await offered(proxy) == version:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"version {version} was never the highest that is offered")


async def beside(versions, tmp_path, request):
    """A of versions 3 and 4, B of these, and a proxy that was just started."""
    a, b = await Fake("A").start(), await Fake("B").start()
    b.versions = versions
    proxy = Proxy(tmp_path / "proxy", a.contact_point, b.contact_point, workers=1)
    request.addfinalizer(proxy.stop)
    await asyncio.to_thread(proxy.start)
    return b, proxy


def test_clients_are_offered_what_both_clusters_speak(tmp_path, request):
    async def play():
        a, b = await Fake("A").start(), await Fake("B").start()
        a.versions = (3, 4, 5)
        proxy = Proxy(tmp_path / "proxy", a.contact_point, b.contact_point, workers=1, protocol_max="v5")
        request.addfinalizer(proxy.stop)
        await asyncio.to_thread(proxy.start)
        await asyncio.to_thread(proxy.wait_ready)
        await until_offered(proxy, 4)

        # B is upgraded.
        b.versions = (3, 4, 5)
        b.hang_up()
        await until_offered(proxy, 5)
        startup = struct.pack(">H", 1) + string("CQL_VERSION") + string("3.0.0")
        opcode, _, (reader, _) = await first_answer(proxy.port, 5, 0x01, startup)
        assert opcode == READY

        # And goes back: whoever speaks version 5 has to come again.
        b.versions = (3, 4)
        b.hang_up()
        await until_offered(proxy, 4)
        assert await asyncio.wait_for(reader.read(1), 10) == b"", "its connection was left open"

        # What was learnt is kept: both are away when the next process starts.
        await asyncio.to_thread(proxy.stop)
        await a.leave()
        await b.leave()
        await asyncio.to_thread(proxy.start)
        await until_offered(proxy, 4)
        await asyncio.to_thread(proxy.stop)

    asyncio.run(play())


def test_a_node_that_is_about_to_leave_does_not_change_what_clients_are_offered(tmp_path, request):
    async def play():
        a, b = await Fake("A").start(), await Fake("B").start()
        a.versions = b.versions = (3, 4, 5)
        proxy = Proxy(tmp_path / "proxy", a.contact_point, b.contact_point, workers=1)
        request.addfinalizer(proxy.stop)
        await asyncio.to_thread(proxy.start)
        await asyncio.to_thread(proxy.wait_ready)
        await until_offered(proxy, 5)
        startup = struct.pack(">H", 1) + string("CQL_VERSION") + string("3.0.0")
        opcode, _, (reader, _) = await first_answer(proxy.port, 5, 0x01, startup)
        assert opcode == READY

        # It lets new connections in, and answers whatever is asked with an ERROR.
        b.is_leaving = True
        b.hang_up()
        while b.refused_options < 3:
            await asyncio.sleep(0.1)
        assert await offered(proxy) == 5
        b.is_leaving = False
        await asyncio.to_thread(proxy.wait_cluster, "B", lambda it: it["connected"], 10)
        assert await offered(proxy) == 5
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.5)
        await asyncio.to_thread(proxy.stop)

    asyncio.run(play())


def test_a_cluster_that_only_speaks_version_3_is_spoken_to_in_it(tmp_path, request):
    async def play():
        b, proxy = await beside((3,), tmp_path, request)
        await until_offered(proxy, 3)
        await asyncio.to_thread(proxy.wait_ready)
        clusters = (await asyncio.to_thread(proxy.status))["clusters"]
        assert [it["connected"] for it in clusters.values()] == [True, True]
        await asyncio.to_thread(proxy.stop)

    asyncio.run(play())


def test_what_a_cluster_of_version_3_missed_is_replayed_in_it(tmp_path, request):
    async def play():
        b, proxy = await beside((3,), tmp_path, request)
        await until_offered(proxy, 3)
        client = await Client.open(proxy.port, version=3)
        statement = await client.prepare("INSERT INTO ks.t (k, v) VALUES (?, ?)")

        b.versions = ()
        b.hang_up()
        assert await client.execute(statement, b"k", b"v") == (0x08, VOID)
        assert await asyncio.to_thread(proxy.owed) == 1
        b.versions = (3,)
        await asyncio.to_thread(proxy.wait_drained, 20)
        assert len(b.applied) == 1
        await asyncio.to_thread(proxy.stop)

    asyncio.run(play())


def test_what_was_left_unset_is_not_made_null_by_version_3(tmp_path, request):
    async def play():
        b, proxy = await beside((), tmp_path, request)
        client = await Client.open(proxy.port)
        statement = await client.prepare("INSERT INTO ks.t (k, v) VALUES (?, ?)")
        bound = long_bytes(b"k") + struct.pack(">i", -2)
        unset = short_bytes(statement) + struct.pack(">HBH", 1, 1, 2) + bound
        assert await client.ask(0x0A, unset) == (0x08, VOID)

        b.versions = (3,)
        await asyncio.to_thread(proxy.wait_drained, 20)
        assert b.applied == []
        assert (await asyncio.to_thread(proxy.status))["replay"]["dead_letters"] == 1
        await asyncio.to_thread(proxy.stop)

    asyncio.run(play())
