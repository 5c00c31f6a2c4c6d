"""A web server on this machine that can fail in the ways in which real servers fail."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Handler = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """The handler of each path, and the path and the range of each request."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.pages: dict[str, Handler] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.stop = threading.Event()

    def url(self, path: str, handler: Handler) -> str:
        self.pages[path] = handler
        return self.address + path

    def ranges(self) -> list[str | None]:
        return [requested for _, requested in self.requests]


@contextmanager
def serve() -> Iterator[Server]:
    """Run a server until the block ends."""

    class Request(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.requests.append((self.path, self.headers.get("Range")))
            self.close_connection = True
            server.pages.get(self.path, status(404))(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Request) as http:
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
    """A server that ignores ranges."""
    headers = {"ETag": tag} if tag else {}
    return lambda handler: send(handler, 200, {"Content-Length": len(contents), **headers}, contents)


def ranged(contents: bytes, *, cuts: Iterator[int] | None = None, tag: str = '"v1"') -> Handler:
    """A server that supports ranges; its first connections end after `cuts` bytes each."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        requested = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(requested[1]) if requested and handler.headers.get("If-Range") == tag else 0
        if requested and start >= len(contents):
            send(handler, 416, {"Content-Length": 0, "Content-Range": f"bytes */{len(contents)}"})
            return
        headers: dict[str, object] = {"Content-Length": len(contents) - start, "ETag": tag}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(contents) - 1}/{len(contents)}"
        send(handler, 206 if start else 200, headers, contents[start:][: next(cuts, None) if cuts else None])

    return answer


def stalled(contents: bytes, server: Server) -> Handler:
    """A server that sends half of the contents and then nothing more."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, {"Content-Length": len(contents), "ETag": '"v1"'}, contents[: len(contents) // 2])
        handler.wfile.flush()
        server.stop.wait(20)

    return answer


def endless(*, chunked: bool) -> Handler:
    """A server whose response never ends."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, {"Transfer-Encoding": "chunked"} if chunked else {})
        block = b"x" * 65536
        with suppress(OSError):
            while True:
                handler.wfile.write(b"10000\r\n" + block + b"\r\n" if chunked else block)

    return answer


def first(*handlers: Handler) -> Handler:
    """Each handler serves one request, the last one all further requests."""
    remaining = list(handlers)
    return lambda handler: (remaining.pop(0) if len(remaining) > 1 else remaining[0])(handler)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("the condition did not become true within 5 s")
