"""The JSON interface: its answers are those of the library, and whatever it is sent, it refuses in one line of JSON."""

import io
import json
import os
import signal
from multiprocessing import active_children
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import lrcr
from lrcr.app.limits import Limits
from lrcr.app.served import ServedIndex
from lrcr.app.server import make_app
from lrcr.app.uploads import Examiner, Upload
from lrcr.errors import ImageError
from lrcr.retrieval.collection import add_photos

from .conftest import BASE, encoded, pixels


def test_results_are_those_of_the_library(client, find, indexed, tmp_path):
    (tmp_path / "query.png").write_bytes(encoded(2, 7))
    index = lrcr.open_index(indexed / "my.index", overrides=["search.multiple_assignment=1"])
    expected = index.search(tmp_path / "query.png", top=12)
    answer = find(client, encoded(2, 7), limit=5)
    assert answer["total"] == len(expected) and answer["query"]["width"] == 96
    assert [(one["image"], one["score"]) for one in answer["results"]] == [
        (hit.image, round(hit.score, 6)) for hit in expected[:5]
    ]
    more = client.post("/api/search", data={"query": answer["query"]["photo"], "offset": 5, "limit": 3}).json()
    assert [one["rank"] for one in more["results"]] == [6, 7, 8]
    assert more["results"][0]["image"] == expected[5].image


def test_a_part_of_the_query_is_searched(client, find, indexed):
    whole = find(client, encoded(1, 0))
    part = find(client, encoded(1, 0), box="0,0,60,50")
    index = lrcr.open_index(indexed / "my.index", overrides=["search.multiple_assignment=1"])
    expected = index.search(indexed / "photos/1/0.png", top=3, box=(0, 0, 60, 50))
    scores = [one["score"] for one in part["results"][:3]]
    assert scores == [round(hit.score, 6) for hit in expected] and part["box"] == [0, 0, 60, 50]
    assert part["results"][0]["score"] < whole["results"][0]["score"]


def test_a_result_can_be_the_next_query(client, find):
    third = find(client, encoded(3, 9))["results"][2]
    answer = client.post("/api/search", data={"query": third["photo"]}).json()
    assert answer["results"][0]["image"] == third["image"] and answer["query"]["name"] == third["image"]


def test_matches_add_up_to_the_score(client, find):
    answer = find(client, encoded(0, 8))
    result, query = answer["results"][0], answer["query"]["photo"]
    found = client.post("/api/matches", json={"query": query, "photo": result["photo"]}).json()
    assert found["shared"] == len(found["words"]) > 1 and found["inliers"] is None
    assert sum(line[4] for line in found["words"]) == pytest.approx(result["score"], abs=1e-5)
    assert all(0 <= x <= 96 and 0 <= y <= 80 for line in found["words"] for x, y in (line[:2], line[2:4]))


def test_maps_cover_the_photo(client, find):
    maps = client.post("/api/maps", json={"photo": find(client, encoded(0, 8))["query"]["photo"]}).json()
    assert [one["name"] for one in maps["maps"]] == ["attention"] and maps["window"] == [0, 0, 1, 1]
    assert np.array(maps["maps"][0]["values"]).min() >= 0


def test_pictures_are_upright_and_bounded(client):
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    Image.fromarray(pixels(0, 0)).resize((3000, 2000)).save(stream, "JPEG", exif=exif)
    photo = client.post("/api/photos", files={"photo": ("a.jpg", stream.getvalue())}).json()
    assert (photo["width"], photo["height"]) == (2000, 3000)
    answer = client.get(f"/api/photos/{photo['photo']}")
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.format == "JPEG" and max(picture.size) <= 1280 and picture.height > picture.width
    again = client.get(f"/api/photos/{photo['photo']}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says that it is this large."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg_with_header(size: int) -> bytes:
    """A JPEG whose header repeats a comment until it has this many bytes, and no pixels."""
    return b"\xff\xd8" + (b"\xff\xfe\xff\xff" + b"x" * 65533) * (size // 65537)


HOSTILE = {
    "empty": (b"", "photo"),
    "text": (b"#!/bin/sh\n", "photo"),
    "bomb": (png_of(60_000, 60_000), "million"),
    "large": (png_of(4_000, 3_000), "million"),
    "overflow": (png_of(2**31 - 1, 2**31 - 1), "million"),
    "truncated": (encoded(0, 0, "JPEG")[:-900], "truncated"),
    "header": (jpeg_with_header(900_000), "photo"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", "photo"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_uploads_are_refused_in_one_line(client, name):
    contents, reason = HOSTILE[name]
    answer = client.post("/api/search", files={"photo": ("../../../photo\n", contents)})
    assert answer.status_code == 400, answer.text
    line = answer.json()["error"]
    assert reason in line and len(line.splitlines()) == 1 and "/" not in line.split(":")[0]
    assert client.get("/api/state").status_code == 200


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        ({"url": "/api/search", "data": {"query": "../../etc/passwd"}}, 422, "query"),
        ({"url": "/api/search", "data": {}}, 400, "query: missing"),
        ({"url": "/api/search", "data": {"query": "0-0"}, "files": {"photo": b"x"}}, 400, "send one of the two"),
        ({"url": "/api/search", "data": {"query": "0-999"}}, 404, "image 999"),
        ({"url": "/api/search", "data": {"query": "7-0"}}, 404, "index 7"),
        ({"url": "/api/search", "data": {"query": "a" * 64}}, 404, "no longer kept"),
        ({"url": "/api/search", "data": {"query": "0-0", "box": "1,2,3"}}, 400, "four numbers"),
        ({"url": "/api/search", "data": {"query": "0-0", "box": "0,0,900,900"}}, 400, "outside the image"),
        ({"url": "/api/search", "data": {"query": "0-0", "box": "nan,0,9,9"}}, 400, "finite"),
        ({"url": "/api/search", "data": {"query": "0-0", "limit": 5000}}, 422, "limit"),
        ({"url": "/api/maps", "json": {"photo": "/etc/passwd"}}, 422, "photo"),
        ({"url": "/api/search", "content": b"x" * (2 << 20)}, 413, "MiB"),
        ({"url": "/api/search", "content": iter([b"x" * (2 << 19)] * 3)}, 413, "MiB"),
        ({"url": "/static/..%2f..%2fserver.py"}, 404, "Not Found"),
    ],
)
def test_wrong_requests_are_refused_in_one_line(client, request_, status, reason):
    answer = client.post(**request_)
    assert answer.status_code == status and reason in answer.json()["error"], answer.text
    assert len(answer.text.splitlines()) == 1


def test_no_address_is_a_path(client):
    for path in (
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/etc/passwd",
        "/api/photos/..%2f..%2fetc%2fpasswd",
    ):
        answer = client.get(path)
        assert answer.status_code in (404, 422) and "error" in answer.json()
    assert client.get("/").text.startswith("<!doctype html>")
    assert client.get("/static/main.js").headers["content-type"].startswith("text/javascript")


def test_a_crash_of_the_decoder_is_survived(client, find):
    [process] = [child for child in active_children() if child.name == "lrcr uploads"]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert find(client, encoded(1, 77))["results"]


def test_decoding_is_ended_after_its_time():
    before, examiner = active_children(), Examiner(Limits(decode_seconds=0))
    with pytest.raises(ImageError, match=r"a\.png: not decoded within 0 s"):
        examiner.examine(Upload("a.png", encoded(0, 0)))
    assert set(active_children()) <= set(before)


def test_openapi_describes_the_interface(client):
    described = client.get("/api/openapi.json").json()
    assert {"/api/search", "/api/matches", "/api/maps", "/api/judgements", "/api/photos"} <= described["paths"].keys()
    found = described["components"]["schemas"]["Found"]["properties"]
    assert found["score"]["description"] and json.dumps(described).count("file:") == 0


def test_an_index_that_grows_is_picked_up(growing, find):
    served = ServedIndex(growing / "my.index")
    with TestClient(make_app([served], growing / "judged"), base_url=BASE) as client:
        before = find(client, encoded(9, 0))
        (growing / "photos/9").mkdir()
        (growing / "photos/9/0.png").write_bytes(encoded(9, 0))
        add_photos(growing / "my.index", [growing / "photos"])
        after = find(client, encoded(9, 0))
        assert client.get("/api/state").json()["indexes"][0]["images"] == 13
    assert before["results"][0]["image"] != "9/0.png" == after["results"][0]["image"]


def test_maps_are_offered_for_models_that_have_them(growing, monkeypatch):
    assert ServedIndex(growing / "my.index").current().has_maps
    fire = SimpleNamespace(params={"model": {"name": "fire"}})
    monkeypatch.setattr("lrcr.app.served.read_model_manifest", lambda _: fire)
    assert not ServedIndex(growing / "my.index").current().has_maps
