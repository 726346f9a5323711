"""One non-blocking socket between a `Core` and the daemon. It never waits: its shell says when it may read or write."""

from __future__ import annotations

import os
import socket

from dispatchd._core import Core

READ_BYTES = 64 * 1024


class Link:
    def __init__(self, core: Core, path: str) -> None:
        self._core, self._path = core, path
        self._rest = memoryview(b"")
        self.sock: socket.socket | None = None

    def pump(self, now: float, readable: bool = False) -> None:
        """Does all that can be done now without waiting. Reads once at most, so that writing gets its turn."""
        core = self._core
        core.tick(now)
        self.connect(now)
        try:
            if readable and self.sock:
                self._read(self.sock, now)
            while self.sock and core.up and (self._rest or self._fill(core.take())):
                self._rest = self._rest[self.sock.send(self._rest) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._end(error, now)
        if not core.up:
            self.close()

    def connect(self, now: float) -> None:
        """Connects if it is time to. To connect a Unix socket takes no time: it works at once, or it fails at once."""
        core = self._core
        if self.sock or core.closed or not core.wanted or now < core.connect_at:
            return
        sock = None
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.connect(self._path)
        except OSError as error:
            if sock:
                sock.close()
            core.lost(os.strerror(error.errno) if error.errno else str(error), now)
        else:
            self.sock = sock
            core.connected()

    def writing(self) -> bool:
        """Whether lines wait for the socket to take more."""
        return len(self._rest) > 0

    def close(self) -> None:
        if self.sock:
            self.sock.close()
        self.sock, self._rest = None, memoryview(b"")

    def _read(self, sock: socket.socket, now: float) -> None:
        chunk = sock.recv(READ_BYTES)
        if chunk:
            self._core.received(chunk, now)
        else:
            self._core.lost("the daemon closed the connection", now)

    def _end(self, error: OSError, now: float) -> None:
        """Where writing failed there may still be answers to read: what the daemon said before it hung up."""
        try:
            while self.sock and self._core.up:
                self._read(self.sock, now)
        except OSError:
            self._core.lost(f"the connection ended: {error}", now)

    def _fill(self, lines: bytes) -> bool:
        self._rest = memoryview(lines)
        return len(lines) > 0
