"""Encryption on both sides of the proxy: who is let in, who is not, and certificates that are replaced."""

import asyncio
import ssl
import time

import pytest

from certificates import Authority
from fakes import VOID, Client, Fake
from proxy import Proxy

INSERT = "INSERT INTO ks.t (k, v) VALUES ('x', 'y')"


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority")


def run(story):
    asyncio.run(story())


async def started(proxy, request):
    request.addfinalizer(proxy.stop)
    await asyncio.to_thread(proxy.start)
    await asyncio.to_thread(proxy.wait_ready)


def secured(proxy_dir, a, b, ca, **settings):
    """A proxy that speaks TLS to both clusters."""
    tls = {"ca": str(ca)}
    return Proxy(proxy_dir, a.contact_point, b.contact_point, workers=1, cluster_tls=tls, **settings)


def test_a_write_is_encrypted_on_its_whole_way(tmp_path, request, authority):
    async def story():
        a, b = await Fake("A").start(authority.server("a")), await Fake("B").start(authority.server("b"))
        cert, key = authority.sign("proxy")
        tls = {"cert": str(cert), "key": str(key), "client_ca": str(authority.ca)}
        proxy = secured(tmp_path / "proxy", a, b, authority.ca, tls=tls)
        await started(proxy, request)
        client = await Client.open(proxy.port, authority.client(authority.sign("app")))
        large = b"v" * 300_000
        statement = await client.prepare("INSERT INTO ks.t (k, v) VALUES (?, ?)")
        assert await client.query(INSERT) == (0x08, VOID)
        assert await client.execute(statement, b"k", large) == (0x08, VOID)
        assert len(a.applied) == len(b.applied) == 2

        for refused in (authority.client(), Authority(tmp_path / "other").client()):
            with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(Client.open(proxy.port, refused), 5)
        with pytest.raises((ConnectionError, asyncio.TimeoutError)):
            await asyncio.wait_for(Client.open(proxy.port), 5)
        assert await client.query(INSERT) == (0x08, VOID), "those who were let in go on"
        await asyncio.to_thread(proxy.stop)

    run(story)


def test_a_cluster_that_another_authority_signed_for_is_not_spoken_to(tmp_path, request, authority):
    async def story():
        stranger = Authority(tmp_path / "stranger")
        a, b = await Fake("A").start(authority.server()), await Fake("B").start(stranger.server())
        proxy = secured(tmp_path / "proxy", a, b, authority.ca)
        await started(proxy, request)
        client = await Client.open(proxy.port)
        assert await client.query(INSERT) == (0x08, VOID)
        assert await asyncio.to_thread(proxy.owed) == 1
        assert (len(a.applied), b.applied) == (1, [])
        await asyncio.to_thread(proxy.stop)

    run(story)


def test_a_certificate_that_is_replaced_is_shown_to_the_next_client(tmp_path, request, authority):
    async def story():
        a, b = await Fake("A").start(), await Fake("B").start()
        cert, key = authority.sign("proxy")
        proxy = Proxy(
            tmp_path / "proxy", a.contact_point, b.contact_point, workers=1, tls={"cert": str(cert), "key": str(key)}
        )
        await started(proxy, request)
        before = await Client.open(proxy.port, authority.client())
        other = Authority(tmp_path / "other")
        for old, new in zip((cert, key), other.sign("proxy")):
            old.write_bytes(new.read_bytes())
        for _ in range(150):
            await asyncio.sleep(0.1)
            try:
                after = await Client.open(proxy.port, other.client())
                break
            except ssl.SSLError:
                pass
        assert await after.query(INSERT) == (0x08, VOID)
        assert await before.query(INSERT) == (0x08, VOID)
        await asyncio.to_thread(proxy.stop)

    run(story)


async def serving(tmp_path, request, authority):
    """A proxy that speaks TLS to its clients alone, and the paths of its certificate and key."""
    a, b = await Fake("A").start(), await Fake("B").start()
    cert, key = authority.sign("proxy")
    tls = {"cert": str(cert), "key": str(key)}
    proxy = Proxy(tmp_path / "proxy", a.contact_point, b.contact_point, workers=1, tls=tls)
    await started(proxy, request)
    return proxy, cert, key


def test_who_never_shakes_hands_holds_nobody_up(tmp_path, request, authority):
    async def story():
        proxy, _, _ = await serving(tmp_path, request, authority)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"\x16\x03\x01")
        await asyncio.sleep(0.5)
        began = time.monotonic()
        await asyncio.to_thread(proxy.stop)
        assert time.monotonic() - began < 5
        assert await reader.read() == b""

    run(story)


def test_ten_seconds_are_all_that_a_client_has_until_ready(tmp_path, request, authority):
    async def story():
        proxy, _, _ = await serving(tmp_path, request, authority)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await asyncio.sleep(6)
        await writer.start_tls(authority.client(), server_hostname="127.0.0.1")
        began = time.monotonic()
        assert await reader.read() == b""
        assert time.monotonic() - began < 6
        await asyncio.to_thread(proxy.stop)

    run(story)
