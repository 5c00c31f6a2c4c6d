"""Many clients at once: all are answered or told to come back, and nothing that they send breaks the server."""

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from .browser import Server, running
from .conftest import encoded

pytestmark = pytest.mark.app
CLIENTS, REQUESTS = 20, 10
MOST_GROWTH = 200.0  # MiB


@pytest.fixture(scope="module")
def server(indexed, tmp_path_factory) -> Iterator[Server]:
    with running(indexed / "my.index", "--judged", tmp_path_factory.mktemp("load") / "judged") as started:
        yield started


def search(server: Server, contents: bytes) -> tuple[int, dict]:
    """Status and answer of a search with an uploaded photo."""
    edge = "edge-of-a-part"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n'
    body = head.encode() + contents + f"\r\n--{edge}--\r\n".encode()
    request = Request(f"{server.address}/api/search", body, {"Content-Type": f"multipart/form-data; boundary={edge}"})
    try:
        with urlopen(request, timeout=100) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def test_sequential_clients_are_all_answered(server, record_property):
    search(server, encoded(0, 0))
    before = server.memory()

    def ask(client: int) -> list[tuple[int, dict]]:
        return [search(server, encoded(client % 4, 100 * client + number)) for number in range(REQUESTS)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(ask, range(CLIENTS)))
    assert Counter(status for client in answers for status, _ in client) == {200: CLIENTS * REQUESTS}
    for client, given in enumerate(answers):
        assert all(answer["results"][0]["image"].startswith(f"{client % 4}/") for _, answer in given)
    after = server.memory()
    record_property("memory_mib", round(after))
    print(f"{CLIENTS * REQUESTS} requests: {before:.0f} MiB before, {after:.0f} MiB after")
    assert after - before < MOST_GROWTH


def test_above_the_bound_requests_are_told_to_come_back(server):
    crowd = 150
    start = threading.Barrier(crowd)
    photos = [encoded(1, 5000 + number) for number in range(crowd)]

    def ask(number: int) -> tuple[int, dict]:
        start.wait(60)
        return search(server, photos[number])

    with ThreadPoolExecutor(crowd) as pool:
        answers = list(pool.map(ask, range(crowd)))
    counts = Counter(status for status, _ in answers)
    assert set(counts) == {200, 429}, counts
    assert all("try again" in answer["error"] for status, answer in answers if status == 429)
    assert search(server, encoded(2, 9000))[0] == 200


def test_the_example_of_the_guide_works(server, tmp_path, monkeypatch, capsys):
    guide = (Path(__file__).parents[2] / "docs/app.md").read_text()
    [program] = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "query.jpg").write_bytes(encoded(2, 50, "JPEG"))
    monkeypatch.chdir(tmp_path)
    exec(program.replace("http://127.0.0.1:8000", server.address), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and lines[0].startswith("1 ") and " 2/" in lines[0]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 300_000 + b"\r\n\r\n",
        b"\x00\xff\xfe nonsense\r\n\r\n",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\nx",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\nx",
    ],
    ids=["header", "noise", "length", "negative"],
)
def test_what_is_no_request_is_refused_in_one_line(server, sent):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(sent)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] in (b"400", b"413")
    assert len(body.splitlines()) == 1 and json.loads(body)["error"]
    assert search(server, encoded(0, 1))[0] == 200
