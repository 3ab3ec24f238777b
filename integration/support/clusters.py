"""The two real clusters, as an operator handles them: start, stop, kill, pause, and ask directly."""

import os
import pathlib
import shutil
import subprocess
import time

from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import ConstantReconnectionPolicy, RoundRobinPolicy, WhiteListRoundRobinPolicy

INTEGRATION = pathlib.Path(__file__).resolve().parents[1]
WORK = pathlib.Path(os.environ.get("HELIX_WORK", INTEGRATION.parent / "target" / "integration"))
CQL_PORT = 9042
SETTLE_SECONDS = 20


class Node:
    """A cluster of one node; what is asked here goes to it directly, never through the proxy."""

    def __init__(self, name, address, *, started_with=(), consistency=ConsistencyLevel.LOCAL_ONE, **options):
        """`started_with` are options of every start, `options` the driver's, such as credentials."""
        self.name = name
        self.address = address
        self._started_with = started_with
        self._consistency = consistency
        self._options = options
        self._driver = None

    def __repr__(self):
        return f"cluster {self.name}"

    @property
    def contact_point(self):
        return f"{self.address}:{CQL_PORT}"

    def start(self, *options):
        self._order("start", *self._started_with, *options)

    def stop(self):
        self._forget()
        self._order("stop")

    def kill(self):
        self._forget()
        self._order("kill")

    def pause(self):
        self._order("pause")

    def resume(self):
        self._order("resume")

    def forget_prepared(self):
        """While it is stopped: without these files it starts as if nothing had ever been prepared."""
        for table in (WORK / self.name / "data" / "system").glob("prepared_statements-*"):
            shutil.rmtree(table)

    def nodetool(self, *words):
        return self._order("nodetool", *words)

    def running(self):
        return "ready" in self._order("status")

    def execute(self, text, parameters=None):
        return self.session().execute(text, parameters)

    def session(self):
        if self._driver is None:
            self._driver = self._connect()
        return self._driver

    def close(self):
        self._forget()

    def _connect(self):
        last = None
        for _ in range(SETTLE_SECONDS):
            driver = self._driver_of_its_own()
            try:
                return driver.connect()
            except Exception as error:  # a node that has just started refuses some of the first requests
                # One that could not connect once never does.
                driver.shutdown()
                last = error
                time.sleep(1)
        raise last

    def _driver_of_its_own(self):
        # The node may advertise another address than ours (see `--advertise`): stay on the one we dialled.
        profile = ExecutionProfile(
            load_balancing_policy=WhiteListRoundRobinPolicy([self.address]),
            request_timeout=30,
            consistency_level=self._consistency,
        )
        return Cluster(
            [self.address],
            port=CQL_PORT,
            protocol_version=4,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            reconnection_policy=ConstantReconnectionPolicy(0.3, None),
            connect_timeout=10,
            control_connection_timeout=10,
            **self._options,
        )

    def _forget(self):
        if self._driver is not None:
            self._driver.cluster.shutdown()
            self._driver = None

    def _order(self, command, *options):
        done = subprocess.run(
            [str(INTEGRATION / "cassandra"), command, self.name, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command} {self.name}: {done.stderr.strip()}")
        return done.stdout


def pair():
    return Node("a", "127.0.0.11"), Node("b", "127.0.0.12")


def through(port, address="127.0.0.1", **options):
    """A driver session of its own (with its own connections) to whatever listens on `port`."""
    options.setdefault("reconnection_policy", ConstantReconnectionPolicy(0.2, None))
    options.setdefault("compression", False)
    timeout = options.pop("request_timeout", 15)
    consistency = options.pop("consistency", ConsistencyLevel.LOCAL_ONE)
    profile = ExecutionProfile(
        load_balancing_policy=RoundRobinPolicy(), request_timeout=timeout, consistency_level=consistency
    )
    driver = Cluster([address], port=port, execution_profiles={EXEC_PROFILE_DEFAULT: profile}, **options)
    return driver.connect()


def on_both(a, b, *texts):
    """Schema by hand, on each cluster directly."""
    for text in texts:
        for node in (a, b):
            node.execute(text)
