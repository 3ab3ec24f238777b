"""A TCP fault proxy that sits between helix-proxy and one cluster, and can spoil the answers only.

`hold_answers` makes the case that matters most: the cluster applies the write, and nobody hears of it.
`delay_answers` makes the slow cluster: all is done, in order, and too late.
"""

import queue
import socket
import threading
import time

CHUNK = 65_536


class FaultProxy:
    def __init__(self, listen, target):
        self.listen = listen
        self.target = target
        self.held_bytes = 0
        self._flowing = threading.Event()
        self._flowing.set()
        self._delay = 0.0
        self._lock = threading.Lock()
        self._links = set()
        self._refusing = False
        self._server = socket.create_server(listen, backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    # -- faults -------------------------------------------------------------------------------

    def hold_answers(self):
        """Requests go through, answers stay here."""
        self.held_bytes = 0
        self._flowing.clear()

    def release_answers(self):
        """What was held arrives late, and whole."""
        self._flowing.set()

    def delay_answers(self, seconds):
        """Each comes so late from now on, however many there are; 0: what comes next is on time again."""
        self._delay = seconds

    def lose_answers(self):
        """What was held or late never arrives: the connections that waited for it are cut."""
        self._delay = 0.0
        self.cut()
        self._flowing.set()

    def cut(self):
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            close(link)

    def refuse(self, refusing=True):
        """New connections are closed at once, and with them the old ones."""
        self._refusing = refusing
        if refusing:
            self.cut()

    def close(self):
        close(self._server)
        self.cut()
        self._flowing.set()

    # -- plumbing -----------------------------------------------------------------------------

    def _accept(self):
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if self._refusing:
                close(near)
                continue
            threading.Thread(target=self._link, args=(near,), daemon=True).start()

    def _link(self, near):
        try:
            far = socket.create_connection(self.target, timeout=5)
        except OSError:
            close(near)
            return
        far.settimeout(None)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._links |= {near, far}
        threading.Thread(target=self._carry, args=(near, far), daemon=True).start()
        answers = queue.SimpleQueue()
        threading.Thread(target=self._deliver, args=(answers, far, near), daemon=True).start()
        self._take(far, answers)

    def _carry(self, source, sink):
        try:
            while data := source.recv(CHUNK):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            self._end(source, sink)

    def _take(self, source, answers):
        """Apart from `_deliver`, so that each is late by its own time only."""
        data = b" "
        while data:
            try:
                data = source.recv(CHUNK)
            except OSError:
                data = b""
            answers.put((time.monotonic() + self._delay, data))

    def _deliver(self, answers, source, sink):
        try:
            while True:
                due, data = answers.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    return
                if not self._flowing.is_set():
                    self.held_bytes += len(data)
                    self._flowing.wait()
                sink.sendall(data)
        except OSError:
            pass
        finally:
            self._end(source, sink)

    def _end(self, source, sink):
        """One way ended: the link is of no more use, and nobody should wait on the other half."""
        close(source)
        close(sink)
        with self._lock:
            self._links -= {source, sink}


def close(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    end.close()
