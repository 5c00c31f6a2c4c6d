"""The addresses of the server: the page and its files, and the JSON interface below `/api/`."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi import Path as PathParam
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from lrcr.app import answers
from lrcr.app.errors import NotFoundError
from lrcr.app.judging import Judging
from lrcr.app.limits import Limits
from lrcr.app.line import Line
from lrcr.app.photos import Photos, ServedPhoto
from lrcr.app.pictures import SIZES
from lrcr.app.searches import Searches
from lrcr.app.served import ServedIndex
from lrcr.app.uploads import Upload, printable_name
from lrcr.data.images import Box
from lrcr.errors import ParamsError

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Service:
    """What answers requests.

    Args:
        indexes: that are served.
        photos: by id.
        judging: keeps judgements.
        searches: answers of the model.
        limits: of the server.
        model: the line before the model.
        decoder: the line before the decoding of uploads.
        pictures: the line before the drawing of pictures.
    """

    indexes: list[ServedIndex]
    photos: Photos
    judging: Judging
    searches: Searches
    limits: Limits
    model: Line
    decoder: Line
    pictures: Line

    async def query(self, photo: UploadFile | None, query: str | None) -> ServedPhoto:
        """The query of a request: an upload, or a photo that is known."""
        if photo is not None and query is not None:
            raise ParamsError("query: given beside a `photo`; send one of the two")
        if photo is not None:
            upload = Upload(printable_name(photo.filename), await photo.read())
            return await self.decoder.run(self.photos.upload, upload)
        if query is None:
            raise ParamsError("query: missing; send a file as `photo`, or the id of a photo as `query`")
        return await self.decoder.run(self.photos.find, query)


def static_files() -> Mapping[str, tuple[bytes, str]]:
    """Name → contents and type of each file of the page, read once: no address is a path."""
    folder = Path(__file__).parent / "static"
    return {file.name: (file.read_bytes(), _TYPES[file.suffix]) for file in folder.iterdir() if file.suffix in _TYPES}


def page_routes() -> APIRouter:
    """The page and its files."""
    router, files = APIRouter(include_in_schema=False), static_files()

    @router.get("/")
    async def page() -> Response:
        return _static(files, "index.html")

    @router.get("/static/{name}")
    async def static(name: str) -> Response:
        return _static(files, name)

    return router


def _static(files: Mapping[str, tuple[bytes, str]], name: str) -> Response:
    if name not in files:
        raise NotFoundError("no such page; open /")
    contents, kind = files[name]
    return Response(contents, media_type=kind, headers={"Cache-Control": "no-cache"})


def photo_routes(service: Service) -> APIRouter:
    """Photos, and what is served."""
    router = APIRouter(prefix="/api", tags=["photos"])

    @router.get("/state")
    async def state() -> answers.StateAnswer:
        """What the server serves."""
        indexes = [await run_in_threadpool(_describe, served) for served in service.indexes]
        return answers.StateAnswer(
            indexes=indexes,
            judged=str(service.judging.folder),
            depth=service.limits.depth,
            upload_bytes=service.limits.upload_bytes,
        )

    @router.post("/photos")
    async def upload(photo: Annotated[UploadFile, File()]) -> answers.Uploaded:
        """Upload a photo. The server keeps the last ones in memory."""
        found = await service.query(photo, None)
        return answers.Uploaded(photo=found.id, name=found.name, width=found.width, height=found.height)

    @router.get("/photos/{photo}/info")
    async def info(photo: Annotated[answers.PhotoId, PathParam()]) -> answers.Uploaded:
        """Name and size of a photo."""
        found = await service.query(None, photo)
        return answers.Uploaded(photo=found.id, name=found.name, width=found.width, height=found.height)

    @router.get("/photos/{photo}", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
    async def picture(
        request: Request, photo: Annotated[answers.PhotoId, PathParam()], large: bool = False
    ) -> Response:
        """A photo as JPEG, of at most 320 pixels, or 1280 if `large`."""
        size = SIZES[large]
        contents = await service.pictures.run(service.photos.picture, photo, size)
        tag = f'"{len(contents):x}-{zlib.crc32(contents):x}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(contents, media_type="image/jpeg", headers=headers)

    return router


def _describe(served: ServedIndex) -> answers.IndexAnswer:
    index = served.current().index
    return answers.IndexAnswer(
        name=served.folder.name,
        images=len(index),
        summary=index.summary,
        explains=index.explains,
        verifies=index.explains and index.searcher.local is not None,
        maps=served.current().has_maps,
    )


def search_routes(service: Service) -> APIRouter:
    """Searches, and explanations of their results."""
    router, searches = APIRouter(prefix="/api", tags=["search"]), service.searches

    @router.post("/search")
    async def search(
        photo: Annotated[UploadFile | None, File(description="the query photo")] = None,
        query: Annotated[answers.PhotoId | None, Form(description="or: the id of a photo that is known")] = None,
        index: Annotated[int, Form(ge=0, le=9999, description="number of the index, from 0")] = 0,
        box: Annotated[str, Form(description="x0,y0,x1,y1: search for this part of the query")] = "",
        offset: Annotated[int, Form(ge=0, description="results that are left out: for the next page")] = 0,
        limit: Annotated[int, Form(ge=1, le=100, description="most results of this answer")] = 24,
    ) -> answers.SearchAnswer:
        """Find the images that show the same thing as a photo, best first."""
        part, found = read_box(box), await service.query(photo, query)
        return await service.model.run(searches.search, index, found, part, offset, limit)

    @router.post("/matches")
    async def matches(pair: answers.Pair) -> answers.MatchesAnswer:
        """Where a query and one of its results match."""
        found = await service.query(None, pair.query)
        return await service.model.run(searches.matches, pair.index, found, pair.box, pair.photo)

    @router.post("/maps")
    async def maps(request: answers.MapsRequest) -> answers.MapsAnswer:
        """The maps that the model of an index computes of a photo."""
        found = await service.query(None, request.photo)
        return await service.model.run(searches.maps, request.index, found)

    return router


def judging_routes(service: Service) -> APIRouter:
    """Judgements of results."""
    router = APIRouter(prefix="/api", tags=["judgements"])

    @router.get("/judgements")
    async def judged() -> answers.JudgedAnswer:
        """The queries that have judgements."""
        return answers.JudgedAnswer(queries=await run_in_threadpool(service.judging.queries))

    @router.put("/judgements")
    async def judge(given: answers.Judgement) -> answers.JudgedAnswer:
        """Judge a result of a query; it is on the disk when the answer comes."""
        query, result = await service.query(None, given.query), await service.query(None, given.photo)
        await run_in_threadpool(service.judging.judge, query, given.box, result, given.mark)
        return answers.JudgedAnswer(queries=await run_in_threadpool(service.judging.queries))

    return router


def read_box(text: str) -> Box | None:
    """The box of a form; None if there is none.

    Raises:
        ParamsError: it is not four numbers.
    """
    if not text:
        return None
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
    except ValueError:
        raise ParamsError(f"box: {text[:80]!r} is not four numbers; write x0,y0,x1,y1 in pixels") from None
    return x0, y0, x1, y1
