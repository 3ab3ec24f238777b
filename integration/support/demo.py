"""The story that integration/demo tells: two clusters, one of them killed, nothing lost."""

import argparse
import itertools
import shutil
import signal
import sys
import threading
import time
from decimal import Decimal

from cassandra.cluster import Cluster
from cassandra.query import BatchStatement

from clusters import WORK, pair
from load import Latencies
from proxy import Proxy

PORT, ADMIN_PORT = 9042, 9180
WRITERS = 4
ORDERS = 400
STATES = ("paid", "packed", "sent", "delivered")
OUTAGE_SECONDS = 12
DRAIN_SECONDS_MAX = 120
STARTED = time.monotonic()


def heading(text):
    print(f"\n== {text}", flush=True)


def tell(text):
    print(f"[{time.monotonic() - STARTED:6.1f}s] {text}", flush=True)


class Shop:
    """An ordinary application: it knows localhost:9042 and a driver with its defaults, nothing else."""

    def __init__(self):
        self.session = Cluster(["127.0.0.1"], port=PORT).connect()
        self.acknowledged = {}  # order -> its state as last acknowledged; None: deleted
        self.unsure = {}  # order -> states whose writes failed after that
        self.latencies = []
        self.errors = []

    def create(self):
        run = self.session.execute
        run("DROP KEYSPACE IF EXISTS shop")
        run("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        run("CREATE TABLE shop.orders (id int PRIMARY KEY, customer text, amount decimal, state text)")
        run("CREATE TABLE shop.history (id int, step int, state text, PRIMARY KEY (id, step))")
        self.insert = self.session.prepare("INSERT INTO shop.orders (id, customer, amount, state) VALUES (?, ?, ?, ?)")
        self.update = self.session.prepare("UPDATE shop.orders SET state = ? WHERE id = ?")
        self.append = self.session.prepare("INSERT INTO shop.history (id, step, state) VALUES (?, ?, ?)")
        self.delete = self.session.prepare("DELETE FROM shop.orders WHERE id = ?")
        self.select = self.session.prepare("SELECT state FROM shop.orders WHERE id = ?")

    def place(self, order):
        row = (order, f"customer {order % 50}", Decimal(order % 9700) / 100, "new")
        self._write(order, "new", lambda: self.session.execute(self.insert, row))

    def advance(self, order, step):
        """The state and its history in one logged batch; every tenth order is cancelled by a delete instead."""
        if order % 10 == 9 and step % 4 == 3:
            self._write(order, None, lambda: self.session.execute(self.delete, (order,)))
            return
        state = STATES[step % len(STATES)]
        batch = BatchStatement()
        batch.add(self.update, (state, order))
        batch.add(self.append, (order, step, state))
        self._write(order, state, lambda: self.session.execute(batch))

    def read(self, order):
        row = self.session.execute(self.select, (order,)).one()
        return row and row.state

    def _write(self, order, state, send):
        started = time.monotonic()
        try:
            send()
        except Exception as error:  # an application would log it; here it is counted and shown
            self.errors.append(f"{type(error).__name__}: {error}")
            self.unsure.setdefault(order, set()).add(state)
        else:
            self.acknowledged[order] = state
            self.unsure.pop(order, None)
        self.latencies.append(time.monotonic() - started)

    def close(self):
        self.session.cluster.shutdown()


class Writers:
    """Threads that keep advancing orders, each its own ones, until told to stop."""

    def __init__(self, shop):
        self.shop = shop
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(WRITERS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def _run(self, number):
        for step in itertools.count():
            for order in range(number, ORDERS, WRITERS):
                if self.ending.wait(0.01):
                    return
                self.shop.advance(order, step)


# -- the story -------------------------------------------------------------------------------


def start_clusters(a, b):
    heading("Two real Cassandra 5.0 clusters that know nothing of each other")
    tell("starting A on 127.0.0.11:9042 and B on 127.0.0.12:9042, about 15 s")
    a.start("--fresh", "--no-wait")
    b.start("--fresh", "--no-wait")
    a.start()
    b.start()
    tell("both answer")


def start_proxy(a, b):
    heading("helix-proxy on localhost:9042")
    directory = WORK / "demo"
    shutil.rmtree(directory, ignore_errors=True)
    proxy = Proxy(directory, a, b, port=PORT, admin_port=ADMIN_PORT)
    proxy.start(apart=True)
    proxy.wait_ready()
    tell(f"ready; its configuration is {proxy.file}")
    return proxy


def both_up(shop, proxy):
    heading("An unmodified driver writes and reads")
    shop.create()
    tell("made keyspace shop and two tables through the proxy: both clusters have them")
    for order in range(ORDERS):
        shop.place(order)
    with Writers(shop):
        time.sleep(4)
    show_writes(shop, "both clusters up")
    seen = sum(shop.read(order) == shop.acknowledged.get(order) for order in range(ORDERS))
    tell(f"read {ORDERS} orders back, {seen} as last acknowledged")


def lose_b(shop, proxy, b):
    heading("Cluster B is killed (kill -9), the application keeps writing")
    with Writers(shop):
        time.sleep(1)
        b.kill()
        tell("B is gone")
        for _ in range(OUTAGE_SECONDS // 2):
            time.sleep(2)
            show_writes(shop, "B down", proxy)
    seen = sum(shop.read(order) == shop.acknowledged.get(order) for order in range(ORDERS))
    tell(f"read {ORDERS} orders back from A, {seen} as last acknowledged")


def show_writes(shop, situation, proxy=None):
    latencies, shop.latencies = shop.latencies, []
    owed = f", owed to B: {proxy.status()['replay']['owed']['B']}" if proxy else ""
    tell(f"{situation}: writes: {Latencies(latencies)}, errors: {len(shop.errors)}{owed}")


def bring_b_back(shop, proxy, b):
    heading("Cluster B comes back, what it missed is replayed")
    most = max(1, proxy.owed())
    b.start()
    tell("B answers again")
    deadline = time.monotonic() + DRAIN_SECONDS_MAX
    while True:
        owed = proxy.owed()
        done = max(0, 30 - round(30 * owed / most))
        tell(f"queue [{'#' * done}{'.' * (30 - done)}] {owed} owed")
        if owed == 0:
            return True
        if deadline < time.monotonic():
            tell(f"not drained within {DRAIN_SECONDS_MAX} s; see {proxy.log}")
            return False
        time.sleep(0.5)


TABLES = {
    "orders": "SELECT id, customer, amount, state, writetime(customer), writetime(amount), writetime(state) FROM shop.orders",
    "history": "SELECT id, step, state, writetime(state) FROM shop.history",
}
KEYS = {"orders": 1, "history": 2}


def compare(shop, a, b):
    heading("Both clusters, row by row, value and WRITETIME, asked directly")
    faults = []
    for table, text in TABLES.items():
        rows_a, rows_b = ({tuple(row)[: KEYS[table]]: tuple(row) for row in node.execute(text)} for node in (a, b))
        unequal = [key for key in rows_a.keys() | rows_b.keys() if rows_a.get(key) != rows_b.get(key)]
        faults += [f"shop.{table} {key}: A {rows_a.get(key)}, B {rows_b.get(key)}" for key in unequal]
        tell(f"shop.{table}: {len(rows_a)} rows on A, {len(rows_b)} on B, {len(unequal)} differ")
    faults += lost(shop, a, "A") + lost(shop, b, "B")
    for fault in faults[:10]:
        tell(f"  {fault}")
    return not faults


def lost(shop, node, name):
    states = {row.id: row.state for row in node.execute("SELECT id, state FROM shop.orders")}
    missing = [
        f"order {order} is {states.get(order)} on {name}, acknowledged was {state}"
        for order, state in shop.acknowledged.items()
        if states.get(order) not in {state} | shop.unsure.get(order, set())
    ]
    tell(f"{name}: {len(shop.acknowledged)} orders acknowledged, {len(missing)} of them not there")
    return missing


def show_around(proxy):
    heading("All of it runs on; Ctrl-C ends it")
    tell(f"CQL      localhost:{PORT} (cqlsh, or any driver)")
    tell(f"status   http://127.0.0.1:{ADMIN_PORT}/status and /metrics, or: helix-proxy status --admin 127.0.0.1:{ADMIN_PORT}")
    tell("clusters integration/cassandra kill|start|pause|resume a|b")
    tell(f"log      {proxy.log}")
    while proxy.process.poll() is None:
        time.sleep(1)
    tell(f"the proxy ended with {proxy.process.returncode}")


def story(once, a, b, running):
    start_clusters(a, b)
    proxy = start_proxy(a, b)
    running.append(proxy.stop)
    shop = Shop()
    running.append(shop.close)
    both_up(shop, proxy)
    lose_b(shop, proxy, b)
    equal = bring_b_back(shop, proxy, b) and compare(shop, a, b)
    tell("EQUAL: nothing was lost" if equal else "NOT EQUAL")
    for error in sorted(set(shop.errors))[:3]:
        tell(f"an error that the application saw: {error}")
    if not once:
        show_around(proxy)
    return 0 if equal else 1


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--once", action="store_true")
    once = arguments.parse_args().once
    # SIGTERM ends it as Ctrl-C does: with everything stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    a, b = pair()
    running = []
    try:
        return story(once, a, b, running)
    except KeyboardInterrupt:
        return 0 if not once else 130
    finally:
        # A second Ctrl-C must not leave servers behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        tell("stopping")
        for stop in [*reversed(running), a.stop, b.stop]:
            stop()


if __name__ == "__main__":
    sys.exit(main())
