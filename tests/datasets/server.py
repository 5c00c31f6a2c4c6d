"""A web server on this machine that misbehaves in the ways that real ones do."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Handler = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """What stands under which path, and what was asked for."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.pages: dict[str, Handler] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.stop = threading.Event()

    def url(self, path: str, handler: Handler) -> str:
        self.pages[path] = handler
        return self.address + path

    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.asked]


@contextmanager
def serve() -> Iterator[Server]:
    """Run a server for the length of the block."""

    class Asked(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.asked.append((self.path, self.headers.get("Range")))
            self.close_connection = True
            server.pages.get(self.path, status(404))(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Asked) as http:
        http.daemon_threads = True
        server = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.stop.set()
            http.shutdown()
            thread.join()


def send(handler: BaseHTTPRequestHandler, code: int, headers: dict[str, object], body: bytes = b"") -> None:
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name, str(value))
    handler.end_headers()
    with suppress(OSError):
        handler.wfile.write(body)


def status(code: int, **headers: str) -> Handler:
    return lambda handler: send(handler, code, {"Content-Length": 0, **headers})


def redirect(address: str) -> Handler:
    return status(302, Location=address)


def whole(contents: bytes, *, tag: str | None = '"v1"') -> Handler:
    """A server that knows no ranges."""
    headers = {"ETag": tag} if tag else {}
    return lambda handler: send(handler, 200, {"Content-Length": len(contents), **headers}, contents)


def ranged(contents: bytes, *, cuts: Iterator[int] | None = None, tag: str = '"v1"') -> Handler:
    """A server that honours ranges, and drops a connection after each of `cuts` bytes until these are used up."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(asked[1]) if asked and handler.headers.get("If-Range") == tag else 0
        if asked and start >= len(contents):
            send(handler, 416, {"Content-Length": 0, "Content-Range": f"bytes */{len(contents)}"})
            return
        headers: dict[str, object] = {"Content-Length": len(contents) - start, "ETag": tag}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(contents) - 1}/{len(contents)}"
        send(handler, 206 if start else 200, headers, contents[start:][: next(cuts, None) if cuts else None])

    return answer


def stalled(contents: bytes, server: Server) -> Handler:
    """A server that falls silent in the midst."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, {"Content-Length": len(contents), "ETag": '"v1"'}, contents[: len(contents) // 2])
        handler.wfile.flush()
        server.stop.wait(20)

    return answer


def endless(*, chunked: bool) -> Handler:
    """A server that never ends."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, {"Transfer-Encoding": "chunked"} if chunked else {})
        block = b"x" * 65536
        with suppress(OSError):
            while True:
                handler.wfile.write(b"10000\r\n" + block + b"\r\n" if chunked else block)

    return answer


def first(*handlers: Handler) -> Handler:
    """One handler after the other, the last for good."""
    waiting = list(handlers)
    return lambda handler: (waiting.pop(0) if len(waiting) > 1 else waiting[0])(handler)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")
