"""A server in a process of its own, and the browser of this machine."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

PROGRAM = "from lrcr.cli.main import main; main()"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str:
    """The program of a browser; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed: {', '.join(BROWSERS)}")
    return found


class Server:
    """`lrcr serve` in a process of its own."""

    def __init__(self, *arguments: object) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.words = [sys.executable, "-c", PROGRAM, "serve", *map(str, arguments), "--port", str(self.port)]
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.process = subprocess.Popen(self.words, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        assert line.startswith(self.address), line + self.process.stderr.read()
        for _ in range(100):
            try:
                urlopen(f"{self.address}/api/state", timeout=30).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.communicate()

    def memory(self) -> float:
        """Its resident memory in MiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


@contextmanager
def running(*arguments: object) -> Iterator[Server]:
    """A server that is ended after the block."""
    server = Server(*arguments)
    try:
        yield server
    finally:
        server.kill()
