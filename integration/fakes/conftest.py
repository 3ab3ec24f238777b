"""A stage for stories: two clusters that are not real and a proxy between them."""

import asyncio

import pytest

from fakes import Fake
from proxy import Proxy


@pytest.fixture
def stage(tmp_path, request):
    """`stage(story, **settings)`: runs a story over two fakes and a proxy between them."""

    def run(story, **settings):
        async def play():
            a, b = await Fake("A").start(), await Fake("B").start()
            proxy = Proxy(tmp_path / "proxy", a.contact_point, b.contact_point, workers=1, **settings)
            request.addfinalizer(proxy.stop)
            # In a thread of its own: the fakes must answer while it starts.
            await asyncio.to_thread(proxy.start)
            await asyncio.to_thread(proxy.wait_ready)
            await story(a, b, proxy)
            await asyncio.to_thread(proxy.stop)

        asyncio.run(play())

    return run
