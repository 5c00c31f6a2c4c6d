"""`lrcr serve`: what it refuses before it opens an index."""

from pathlib import Path

import pytest

from lrcr.app.server import listen
from lrcr.cli.serving import serve
from lrcr.errors import ParamsError

INDEX = Path("my.index")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"folders": [INDEX], "host": "0.0.0.0"}, "--host 0.0.0.0: others can reach it; give --token"),
        ({"folders": [INDEX], "host": "photos.example"}, "give --token"),
        ({"folders": [INDEX], "token": "short"}, "at least 16"),
        ({"folders": [INDEX], "token": "sixteen letters\n"}, "at least 16"),
        ({"folders": [INDEX] * 3}, "3 indexes"),
        ({"folders": [INDEX] * 2, "moved": [Path("photos")]}, "lrcr update"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, reason):
    with pytest.raises(ParamsError, match=reason):
        serve(**arguments)


def test_a_port_that_is_in_use_is_refused():
    with listen("127.0.0.1", 0) as taken, pytest.raises(ParamsError, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_a_port_that_there_is_not_is_refused():
    with pytest.raises(ParamsError, match=r"--port 99999: not a port; give another"):
        listen("127.0.0.1", 99999)


def test_the_token_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("LRCR_TOKEN", "short")
    with pytest.raises(ParamsError, match="at least 16"):
        serve([INDEX])
    monkeypatch.setenv("LRCR_TOKEN", "")
    with pytest.raises(ParamsError, match="give --token"):
        serve([INDEX], host="0.0.0.0")
