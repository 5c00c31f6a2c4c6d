"""The server: its parts, put together, and how it is run."""

import io
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import h11
import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from lrcr.app.answers import Refusal
from lrcr.app.errors import RequestError
from lrcr.app.guard import Guard, refuse
from lrcr.app.judging import Judging
from lrcr.app.limits import Limits
from lrcr.app.line import Line
from lrcr.app.photos import Photos
from lrcr.app.routes import Service, judging_routes, page_routes, photo_routes, search_routes
from lrcr.app.searches import Searches
from lrcr.app.served import ServedIndex
from lrcr.app.uploads import Upload
from lrcr.errors import LrcrError, ParamsError

_log = logging.getLogger(__name__)
_LINGER = 2.0  # seconds in which the rest of a refused request is read


def make_app(
    indexes: Sequence[ServedIndex], judged: Path, token: str | None = None, limits: Limits | None = None
) -> ASGIApp:
    """The server as an ASGI application.

    Args:
        indexes: to serve; at least one.
        judged: folder of the judgements.
        token: that requests must show; None: only requests to this machine are answered.
        limits: of the server; None takes the defaults.

    Raises:
        LrcrError: `judged` lies among the photos, or is something else.
    """
    limits = limits or Limits()
    MultiPartParser.spool_max_size = limits.upload_bytes  # uploads stay in memory
    judging = Judging(judged, indexes)
    photos = Photos(indexes, limits, judging.stored)
    lines = (
        Line("model", 1, limits.waiting, limits.answer_seconds),
        Line("decoder", 1, limits.waiting, limits.answer_seconds),
        Line("pictures", 2, limits.pictures, limits.answer_seconds),
    )
    service = Service(list(indexes), photos, judging, Searches(photos, judging, limits), limits, *lines)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(photos.examiner.start)
        yield
        for line in lines:
            line.close()
        photos.examiner.close()

    app = FastAPI(
        title="lrcr",
        version=version("lrcr"),
        description="Find the images of an index that show the same thing as a photo.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses={"4XX": {"model": Refusal}, "5XX": {"model": Refusal}},
    )
    for router in (page_routes(), photo_routes(service), search_routes(service), judging_routes(service)):
        app.include_router(router)
    for error, answer in _ANSWERS.items():
        app.add_exception_handler(error, answer)
    app.state.service = service
    return Guard(app, token, limits)


async def _refused(_: Request, error: Exception) -> Response:
    return refuse(error.status if isinstance(error, RequestError) else 400, str(error))


async def _invalid(_: Request, error: Exception) -> Response:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": "invalid"}
    place = ".".join(str(part) for part in first["loc"][1:])
    return refuse(422, f"{place or 'request'}: {first['msg']}; see /api/openapi.json")


async def _http(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    detail = error.detail if isinstance(error, HTTPException) else ""
    return refuse(status, f"{detail}; see /api/openapi.json")


async def _failed(_: Request, error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    return refuse(500, "the server failed at this request; its log says how")


_ANSWERS = {LrcrError: _refused, RequestValidationError: _invalid, HTTPException: _http, Exception: _failed}


class _Protocol(H11Protocol):
    """HTTP by h11, which refuses what is no HTTP, or has huge headers, in one line of JSON as well."""

    _refused = False

    def data_received(self, data: bytes) -> None:
        """See uvicorn. After a refusal the rest is ignored: if it stayed unread, the answer would be lost."""
        if not self._refused:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """See uvicorn."""
        line = refuse(400, f"request: {msg} Send less and well-formed headers")
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=bytes(line.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self._refused = True
        self.transport.write_eof()
        self.loop.call_later(_LINGER, self.transport.close)


def warm_up(indexes: Sequence[ServedIndex]) -> None:
    """Read the models and compile what is needed, so that the first search is as fast as the others."""
    stream = io.BytesIO()
    Image.effect_noise((96, 96), 60).convert("RGB").save(stream, "PNG")
    photo = Upload("warm-up.png", stream.getvalue())
    for served in indexes:
        opened = served.current()
        opened.index.search(photo, top=1)
        opened.read_tables()


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address of this machine.

    Args:
        port: 0 takes any that is free.

    Raises:
        ParamsError: the address is not this machine's, or the port is in use or above 65535.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a port"
        raise ParamsError(f"--host {host} --port {port}: {reason}; give another address or port") from None


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Answer requests until the process is interrupted."""
    config = uvicorn.Config(
        app, http=_Protocol, log_level="warning", access_log=False, server_header=False, ws="none", lifespan="on"
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run([listening])
