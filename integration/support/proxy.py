"""One helix-proxy process with a configuration of its own: start, kill, restart, and what it says of itself."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

from clusters import INTEGRATION

BINARY = pathlib.Path(os.environ.get("HELIX_BINARY", INTEGRATION.parent / "target" / "release" / "helix-proxy"))
START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 30


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Proxy:
    """`directory` keeps the configuration, the queue and the log, so that a restart finds what was owed."""

    def __init__(
        self, directory, a, b, *, port=None, admin_port=None, compression=("none", "none"), cluster_tls=None,
        cluster_auth=None, cluster_b=None, **settings
    ):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.admin_port = admin_port or free_port()
        self.process = None
        self.file = self.directory / "helix-proxy.yaml"
        self.log = self.directory / "helix-proxy.log"
        each = [{"compression": it} | ({"tls": cluster_tls} if cluster_tls else {}) for it in compression]
        if cluster_auth:
            each = [it | {"auth": cluster_auth} for it in each]
        each[1] |= cluster_b or {}
        self.file.write_text(as_yaml(self._configuration(a, b, each, settings)))

    def _configuration(self, a, b, each, settings):
        clusters = {"a": contact("A", a) | each[0]}
        if b is not None:
            clusters["b"] = contact("B", b) | each[1]
        configuration = {
            "listen": f"127.0.0.1:{self.port}",
            "instance": "integration",
            "admin": {"listen": f"127.0.0.1:{self.admin_port}"},
            "clusters": clusters,
            "reads": {"preferred": "A"},
            # Half-open tries come often, so that a test need not wait 30 s for the breaker to close.
            "failover": {"reset_after": "2s"},
            "replay": {"queue": "disk", "path": str(self.directory / "replay.db")},
        }
        for key, value in settings.items():
            if isinstance(value, dict):
                configuration.setdefault(key, {}).update(value)
            else:
                configuration[key] = value
        return configuration

    # -- life ---------------------------------------------------------------------------------

    def start(self, wait=True, apart=False):
        """In our process group, so that whoever ends us ends it; `apart`: Ctrl-C is for us alone."""
        self._refuse_strangers()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(BINARY), "run", "--config", str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=apart,
            )
        if wait:
            self.wait_live()
        return self

    def kill(self):
        """SIGKILL: nothing is flushed, nothing is said."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM, as an operator would; the exit code."""
        if self.process is None or self.process.poll() is not None:
            return None if self.process is None else self.process.returncode
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the proxy did not stop within {STOP_SECONDS_MAX} s of SIGTERM") from None

    def exit_code(self, seconds=START_SECONDS_MAX):
        """For a start that must fail: how it ended, and what it said."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the proxy runs on, though it cannot") from None
        return code, self.said()

    def _refuse_strangers(self):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                raise RuntimeError(f"something else already listens on 127.0.0.1:{self.port}")

    # -- what it says -------------------------------------------------------------------------

    def said(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def get(self, path):
        """Status code and body; a refusal by the proxy is an answer too."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def status(self):
        return json.loads(self.get("/status")[1])

    def ready(self):
        return self.get("/health/ready")[0] == 200

    def metric(self, name, **labels):
        """The sum of all samples of `name` that carry these labels; None where there is none."""
        found = [
            float(value)
            for label_text, value in re.findall(
                rf"^{re.escape(name)}(?:\{{(.*?)\}})?\s+(\S+)", self.get("/metrics")[1], re.MULTILINE
            )
            if labels.items() <= dict(re.findall(r'(\w+)="([^"]*)"', label_text)).items()
        ]
        return sum(found) if found else None

    def owed(self):
        return sum(self.status()["replay"]["owed"].values())

    def rss_mib(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024

    def command(self, *arguments):
        """A command of the binary against this proxy's admin address: code, output, errors."""
        done = subprocess.run(
            [str(BINARY), *arguments, "--admin", f"127.0.0.1:{self.admin_port}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.returncode, done.stdout, done.stderr

    # -- waiting ------------------------------------------------------------------------------

    def wait_live(self):
        self._until(lambda: self.get("/health/live")[0] == 200 and self._accepts(), START_SECONDS_MAX, "live")

    def wait_ready(self, seconds=START_SECONDS_MAX):
        self._until(self.ready, seconds, "ready")

    def wait_cluster(self, side, wanted, seconds):
        """Until `wanted` (a function of the cluster's part of /status) holds; seconds it took."""
        return self._until(lambda: wanted(self.status()["clusters"][side]), seconds, f"cluster {side} as wanted")

    def wait_owed(self, seconds):
        return self._until(lambda: 0 < self.owed(), seconds, "something owed")

    def wait_drained(self, seconds):
        """Until nothing is owed to either cluster (I11); seconds it took."""
        return self._until(lambda: self.owed() == 0, seconds, "nothing owed")

    def _accepts(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _until(self, holds, seconds, what):
        started = time.monotonic()
        while True:
            if self.process.poll() is not None:
                raise AssertionError(f"the proxy ended with {self.process.returncode}:\n{self.said()[-2000:]}")
            try:
                if holds():
                    return time.monotonic() - started
            except (OSError, ValueError):
                pass  # not listening yet
            if seconds < time.monotonic() - started:
                raise AssertionError(f"not within {seconds} s: {what}\n{self._last_words()}")
            time.sleep(0.1)

    def _last_words(self):
        try:
            return f"{self.get('/status')[1]}\n{self.said()[-2000:]}"
        except OSError:
            return self.said()[-2000:]


def contact(name, node):
    point = node if isinstance(node, str) else node.contact_point
    return {"name": name, "contact_points": [point]}


def as_yaml(value):
    """JSON is YAML, and one key a line keeps the line numbers of `check` useful."""
    return "".join(f"{key}: {json.dumps(part)}\n" for key, part in value.items())
