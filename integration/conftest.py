"""Real clusters, started once for the whole run, and a proxy of its own for each test."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "support"))

from checker import make_schema  # noqa: E402
from clusters import pair, through  # noqa: E402
from faults import FaultProxy  # noqa: E402
from proxy import Proxy  # noqa: E402

FAULTY_ADDRESS = "127.0.0.22"


def pytest_addoption(parser):
    parser.addoption("--large", action="store_true", help="also what needs many nodes or much time")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--large"):
        skip = pytest.mark.skip(reason="large: runs with --large, as in integration/test --all")
        for item in items:
            if item.get_closest_marker("large"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def nodes():
    """Those that ran before run on afterwards; those that we started are stopped."""
    a, b = pair()
    ours = [node for node in (a, b) if not node.running()]
    for node in ours:
        node.start("--fresh", "--no-wait")
    for node in ours:
        node.start()
    yield a, b
    for node in (a, b):
        node.close()
    for node in ours:
        node.stop()


@pytest.fixture
def clusters(nodes):
    """Both up and answering, whatever the test before did, with empty tables."""
    for node in nodes:
        heal(node)
    make_schema(*nodes)
    yield nodes
    for node in nodes:
        heal(node)


def heal(node):
    try:
        node.resume()
    except RuntimeError:
        pass  # it does not run
    node.start()


@pytest.fixture
def a(clusters):
    return clusters[0]


@pytest.fixture
def b(clusters):
    return clusters[1]


@pytest.fixture
def start_proxy(clusters, tmp_path, request):
    """`start_proxy(**settings)`: a running proxy before A and B; its log is shown when the test fails."""
    started = []

    def start(a=clusters[0], b=clusters[1], *, wait=True, **settings):
        proxy = Proxy(tmp_path / f"proxy{len(started)}", a, b, **settings)
        started.append(proxy)
        return proxy.start(wait)

    yield start
    for proxy in started:
        request.node.add_report_section("teardown", f"log of {proxy.directory.name}", proxy.said()[-6000:])
    for proxy in started:
        proxy.stop()


@pytest.fixture
def connect():
    """`connect(proxy, **options)`: a driver session that is closed after the test."""
    sessions = []

    def open_session(proxy, **options):
        sessions.append(through(proxy.port, **options))
        return sessions[-1]

    yield open_session
    for session in sessions:
        session.cluster.shutdown()


@pytest.fixture
def tell(capsys):
    """Figures are wanted also from a test that passes."""

    def say(text):
        with capsys.disabled():
            print(f"\n    {text}", end="", flush=True)

    return say


@pytest.fixture(scope="module")
def faulty_b(nodes):
    """A fault proxy before B, and B tells drivers that address, so that nobody finds the way around it."""
    b = nodes[1]
    b.stop()
    b.start("--advertise", FAULTY_ADDRESS)
    faults = FaultProxy((FAULTY_ADDRESS, 9042), (b.address, 9042))
    faults.contact_point = f"{FAULTY_ADDRESS}:9042"
    yield faults
    faults.close()
    b.stop()
    b.start()


@pytest.fixture
def faults(faulty_b):
    yield faulty_b
    faulty_b.refuse(False)
    faulty_b.lose_answers()
