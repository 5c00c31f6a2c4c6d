"""`lrcr serve` with 102,400 images: the time from an uploaded photo to its first results, over HTTP.

The index is that of 100 images of the embedded dataset, merged with itself ten times.
"""

import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.request import Request, urlopen

from PIL import Image, ImageOps

from benchmarks.embedded import make_embedded
from benchmarks.values import Value
from lrcr.api import build_index
from lrcr.data.dataset import open_dataset
from lrcr.retrieval.collection import merge_indexes

_PHOTOS, _DOUBLINGS, _QUERIES = 100, 10, 15
_UPLOADED = 1600  # pixels of the longer side
_EDGE = "a-part-ends-here"


def run() -> Iterator[Value]:
    """Photos that the index does not hold are uploaded one after another, each once."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        queries = _write_photos(work)
        index = _build(work)
        with _served(index, work / "judged") as address:
            _search(address, queries[0])  # what a first request still reads
            times = [_search(address, query) for query in queries[1:]]
        images = _PHOTOS * 2**_DOUBLINGS
        yield Value(f"first results of an uploaded photo, {images} images, s", median(times), at_most=1)
        yield Value("the slowest of them, s", max(times))


def _write_photos(work: Path) -> list[bytes]:
    """Write the photos of the index to `work/photos`; returns mirrored photos as uploads."""
    dataset = open_dataset(make_embedded().test)
    files = [photo.path for photo in dataset.photos() if isinstance(photo.path, Path)]
    (work / "photos").mkdir()
    queries = []
    for number, file in enumerate(files[:: len(files) // _PHOTOS][:_PHOTOS]):
        with Image.open(file) as image:
            large = ImageOps.contain(image.convert("RGB"), (_UPLOADED, _UPLOADED))
        large.save(work / f"photos/{number:03}.jpg", quality=90)
        if number <= _QUERIES:
            stream = io.BytesIO()
            ImageOps.mirror(large).save(stream, "JPEG", quality=90)
            queries.append(stream.getvalue())
    return queries


def _build(work: Path) -> Path:
    """The index of the photos, merged with a copy of itself again and again."""
    index, copy = work / "0.index", work / "copy.index"
    build_index(work / "photos", index, overrides=["extract.image_size=512"])
    for number in range(_DOUBLINGS):
        doubled = work / f"{number + 1}.index"
        shutil.copytree(index, copy)
        merge_indexes(index, copy, doubled, f"{number}/")
        shutil.rmtree(index)
        shutil.rmtree(copy)
        index = doubled
    return index


@contextmanager
def _served(index: Path, judged: Path) -> Iterator[str]:
    """The address of a server of the index."""
    command = [sys.executable, "-m", "lrcr.cli.main", "serve", str(index), "--port", "0", "--judged", str(judged)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None, "it is a pipe"
        try:
            yield next(line for line in server.stderr if line.startswith("http")).split()[0]
        finally:
            server.terminate()


def _search(address: str, photo: bytes) -> float:
    """The seconds until the answer to an uploaded photo is there."""
    head = f'--{_EDGE}\r\nContent-Disposition: form-data; name="photo"; filename="query.jpg"\r\n\r\n'
    body = head.encode() + photo + f"\r\n--{_EDGE}--\r\n".encode()
    request = Request(f"{address}api/search", body, {"Content-Type": f"multipart/form-data; boundary={_EDGE}"})
    started = time.perf_counter()
    with urlopen(request, timeout=100) as answer:
        found = json.load(answer)
    assert len(found["results"]) > 0, "every photo has results"
    return time.perf_counter() - started
