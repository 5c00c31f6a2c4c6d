"""Who is answered: requests of this machine's own pages, or with the token; nobody waits without bound."""

import asyncio
import threading

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from lrcr.app.errors import BusyError, LateError
from lrcr.app.guard import Guard
from lrcr.app.limits import Limits
from lrcr.app.line import Line
from lrcr.app.memory import Memory

from .conftest import BASE

TOKEN = "a-long-random-token"
_ORIGIN = {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}


def ask(token: str | None, headers: dict[str, str], path: str = "/api/state") -> int:
    """The status of a request with some headers."""
    client = TestClient(Guard(PlainTextResponse("answer"), token, Limits()), follow_redirects=False)
    answer = client.get(path, headers={"host": "127.0.0.1:8000", **headers})
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert answer.status_code in (200, 303) or len(answer.json()["error"].splitlines()) == 1
    return answer.status_code


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "evil.example:8000"}, 403),
        ({"host": ""}, 403),
        ({"host": "["}, 403),
        ({"origin": "http://["}, 403),
        (_ORIGIN, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_only_this_machine_and_its_own_page_are_answered(headers, status):
    assert ask(None, headers) == status


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({}, "/api/state", 401),
        ({}, "/", 401),
        ({}, f"/api/state?token={TOKEN}", 401),
        ({}, "/?token=wrong", 401),
        ({}, f"/?token={TOKEN}", 303),
        ({"authorization": f"Bearer {TOKEN}"}, "/api/state", 200),
        ({"authorization": f"Bearer {TOKEN}x"}, "/api/state", 401),
        ({"cookie": f"a=b; lrcr_token={TOKEN}"}, "/api/state", 200),
        ({"cookie": "lrcr_token="}, "/api/state", 401),
        ({"authorization": f"Bearer {TOKEN}", "host": "photos.example"}, "/api/state", 200),
        ({"authorization": f"Bearer {TOKEN}", "origin": "http://evil.example"}, "/api/state", 403),
        ({"authorization": f"Bearer {TOKEN}", "origin": "http://[", "host": ""}, "/api/state", 403),
    ],
)
def test_with_a_token_everyone_shows_it(headers, path, status):
    assert ask(TOKEN, headers, path) == status


def test_the_page_keeps_the_token_as_a_cookie_that_scripts_cannot_read():
    client = TestClient(Guard(PlainTextResponse("answer"), TOKEN, Limits()), BASE, follow_redirects=False)
    cookie = client.get(f"/?token={TOKEN}").headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    assert client.get("/").text == "answer"


def test_slow_bodies_are_given_up():
    async def slow() -> int:
        sent = []

        async def receive():
            await asyncio.sleep(60)

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
        }
        await Guard(PlainTextResponse("answer"), None, Limits(upload_seconds=0.05))(scope, receive, send)
        return sent[0]["status"]

    assert asyncio.run(slow()) == 408


def test_a_line_answers_in_order_and_refuses_whom_it_has_no_room_for():
    async def wait() -> tuple[list[object], list[int]]:
        line, gate, done = Line("model", 1, 2, 5.0), threading.Event(), []

        def answer(number: int) -> int:
            gate.wait(5)
            done.append(number)
            return number

        waiting = [asyncio.ensure_future(line.run(answer, number)) for number in range(5)]
        await asyncio.sleep(0.05)
        gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert await line.run(answer, 9) == 9, "there is room again"
        line.close()
        return results, done

    results, done = asyncio.run(wait())
    assert results[:3] == [0, 1, 2] and done == [0, 1, 2, 9]
    assert all(isinstance(one, BusyError) and one.status == 429 for one in results[3:])


def test_a_line_gives_up_after_a_time_and_recovers():
    async def wait() -> None:
        line, gate = Line("model", 1, 2, 0.05), threading.Event()
        with pytest.raises(LateError):
            await line.run(gate.wait, 5)
        gate.set()
        await asyncio.sleep(0.05)
        assert await line.run(int, "3") == 3
        line.close()

    asyncio.run(wait())


def test_a_memory_forgets_what_was_not_used_for_longest():
    memory: Memory[bytes] = Memory(10, len)
    for name in "abc":
        memory.keep(name, b"1234")
        memory.get("a")
    assert memory.get("a") and memory.get("c") and memory.get("b") is None
    memory.keep("large", b"x" * 50)
    assert memory.get("large") and memory.get("a") is None
