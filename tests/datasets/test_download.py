import hashlib
import os
import shutil
import subprocess
from itertools import chain, repeat
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.datasets.download import download
from lrcr.datasets.remote import Checksum, Patience, RemoteFile
from lrcr.errors import DownloadError

from .server import endless, first, ranged, redirect, send, serve, stalled, status, whole

CONTENTS = np.random.default_rng(0).bytes(3_000_000)
SUM = Checksum(len(CONTENTS), hashlib.sha256(CONTENTS).hexdigest())
HASTE = Patience(timeout=0.3, attempts=3, pause=0.01)
MOST = 5_000_000


@pytest.fixture(scope="module")
def server():
    with serve() as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_asked(server):
    server.pages.clear()
    server.asked.clear()


def get(path, *urls: str, expected: Checksum | None = SUM, patience: Patience = HASTE, **more) -> Checksum:
    file = RemoteFile("photos.tar", urls, MOST, **more)
    return download(file, path, expected=expected, patience=patience)


def assert_here(path) -> None:
    assert path.read_bytes() == CONTENTS
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_arrives_and_nothing_else_stays(server, tmp_path):
    path = tmp_path / "photos.tar"
    assert get(path, server.url("/f", ranged(CONTENTS)), expected=None) == SUM
    assert_here(path)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, len(CONTENTS)), max_size=5))
def test_connections_dropped_at_random_bytes_are_resumed(server, tmp_path_factory, cuts):
    server.asked.clear()
    path = tmp_path_factory.mktemp("cut") / "photos.tar"
    get(path, server.url("/f", ranged(CONTENTS, cuts=iter(cuts))), patience=Patience(1, 6, 0.001))
    assert_here(path)
    have, expected = 0, [None]
    for cut in cuts:
        have += cut
        if have >= len(CONTENTS):
            break
        expected.append(f"bytes={have}-" if have else None)
    assert server.ranges() == expected


def test_many_drops_are_no_failure_while_something_new_arrives(server, tmp_path):
    cuts = chain(repeat(100_000, 25))
    get(tmp_path / "photos.tar", server.url("/f", ranged(CONTENTS, cuts=cuts)))
    assert_here(tmp_path / "photos.tar")


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    def cut(handler):
        send(handler, 200, {"Content-Length": len(CONTENTS), "ETag": '"v1"'}, CONTENTS[:1_000_000])

    get(tmp_path / "photos.tar", server.url("/f", first(cut, whole(CONTENTS))))
    assert_here(tmp_path / "photos.tar")
    assert server.ranges() == [None, "bytes=1000000-"]


def test_a_server_that_names_no_version_is_not_resumed(server, tmp_path):
    def cut(handler):
        send(handler, 200, {"Content-Length": len(CONTENTS)}, CONTENTS[:1_000_000])

    get(tmp_path / "photos.tar", server.url("/f", first(cut, whole(CONTENTS, tag=None))))
    assert server.ranges() == [None, None]


def test_two_versions_are_never_joined(server, tmp_path):
    old = bytes(1_000_000) + CONTENTS[1_000_000:]
    versions = first(ranged(old, cuts=iter([1_000_000]), tag='"old"'), ranged(CONTENTS, tag='"new"'))
    assert get(tmp_path / "photos.tar", server.url("/f", versions), expected=None) == SUM


def test_the_next_run_goes_on(server, tmp_path):
    path = tmp_path / "photos.tar"
    url = server.url("/f", first(ranged(CONTENTS, cuts=iter([700_000])), status(503)))
    with pytest.raises(DownloadError, match="status 503, 3 times in a row"):
        get(path, url)
    assert path.with_name("photos.tar.part").stat().st_size == 700_000
    get(path, server.url("/f", ranged(CONTENTS)))
    assert server.ranges()[-1] == "bytes=700000-"
    assert_here(path)


@pytest.mark.parametrize("kept", [1_000_000, len(CONTENTS), len(CONTENTS) + 5])
def test_a_part_of_something_else_is_thrown_away(server, tmp_path, kept):
    part = tmp_path / "photos.tar.part"
    part.write_bytes(bytes(kept))
    part.with_name("photos.tar.part.json").write_text('{"version": "\\"v1\\""}')
    get(tmp_path / "photos.tar", server.url("/f", ranged(CONTENTS)))
    assert_here(tmp_path / "photos.tar")


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"version": 1}', '{"version": "a\\nHost: b"}', "\x00"])
def test_a_part_without_a_sound_version_is_thrown_away(server, tmp_path, note):
    (tmp_path / "photos.tar.part").write_bytes(CONTENTS[:1000])
    (tmp_path / "photos.tar.part.json").write_text(note)
    get(tmp_path / "photos.tar", server.url("/f", ranged(CONTENTS)))
    assert server.ranges() == [None]


def test_wrong_content_is_refused_and_the_mirror_asked(server, tmp_path):
    wrong = server.url("/wrong", whole(CONTENTS[::-1]))
    with pytest.raises(DownloadError) as error:
        get(tmp_path / "photos.tar", wrong)
    assert str(error.value).startswith(f"photos.tar: cannot be downloaded ({wrong}: holds other contents: 3000000 ")
    assert SUM.sha256 in str(error.value)
    assert list(tmp_path.iterdir()) == []
    get(tmp_path / "photos.tar", wrong, server.url("/right", whole(CONTENTS)))
    assert_here(tmp_path / "photos.tar")


def test_wrong_length_is_refused_before_it_comes(server, tmp_path):
    urls = server.url("/short", whole(CONTENTS[:-1])), server.url("/long", whole(CONTENTS + b"x"))
    with pytest.raises(DownloadError, match=r"/short: has 2999999 bytes, not 3000000; .*/long: has 3000001 bytes"):
        get(tmp_path / "photos.tar", *urls)
    get(tmp_path / "photos.tar", *urls, server.url("/right", whole(CONTENTS)))


def test_a_missing_file_is_taken_from_the_mirror(server, tmp_path):
    get(tmp_path / "photos.tar", server.address + "/none", server.url("/mirror", ranged(CONTENTS)))
    assert_here(tmp_path / "photos.tar")
    assert [path for path, _ in server.asked] == ["/none", "/mirror"]


def test_mirrors_are_asked_in_order(server, tmp_path):
    urls = [server.url(f"/{i}", whole(CONTENTS)) for i in range(3)]
    get(tmp_path / "photos.tar", *urls)
    assert [path for path, _ in server.asked] == ["/0"]


def test_503_then_success(server, tmp_path):
    get(tmp_path / "photos.tar", server.url("/f", first(status(503), status(429), ranged(CONTENTS))))
    assert_here(tmp_path / "photos.tar")


def test_redirects_are_followed_and_endless_ones_end(server, tmp_path):
    target = server.url("/target", ranged(CONTENTS))
    get(tmp_path / "photos.tar", server.url("/f", redirect(target)))
    assert_here(tmp_path / "photos.tar")
    loop = server.url("/loop", redirect(server.address + "/loop"))
    with pytest.raises(DownloadError, match="status 302"):
        get(tmp_path / "other.tar", loop)


def test_a_redirect_to_a_local_file_is_refused(server, tmp_path):
    (tmp_path / "secret").write_bytes(CONTENTS)
    with pytest.raises(DownloadError):
        get(tmp_path / "photos.tar", server.url("/f", redirect(f"file://{tmp_path}/secret")))
    assert not (tmp_path / "photos.tar").exists()


def test_a_stall_is_given_up_and_resumed(server, tmp_path):
    get(tmp_path / "photos.tar", server.url("/f", first(stalled(CONTENTS, server), ranged(CONTENTS))))
    assert_here(tmp_path / "photos.tar")
    assert server.ranges() == [None, "bytes=1500000-"]


def test_a_server_that_always_stalls_is_left(server, tmp_path):
    with pytest.raises(DownloadError, match=r"broke off \(timed out\), 3 times in a row"):
        get(tmp_path / "photos.tar", server.url("/f", stalled(CONTENTS, server)))


@pytest.mark.parametrize("chunked", [True, False])
def test_an_endless_body_ends(server, tmp_path, chunked):
    url = server.url("/f", endless(chunked=chunked))
    with pytest.raises(DownloadError, match="sends more than 3000000 bytes"):
        get(tmp_path / "photos.tar", url)
    with pytest.raises(DownloadError, match="does not say how many bytes it has"):
        get(tmp_path / "photos.tar", url, expected=None)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < MOST


def test_a_body_larger_than_it_can_be_is_not_begun(server, tmp_path):
    url = server.url("/f", lambda handler: send(handler, 200, {"Content-Length": 10**15}))
    with pytest.raises(DownloadError, match="has 1000000000000000 bytes, more than the 5000000 that are allowed"):
        get(tmp_path / "photos.tar", url, expected=None)


def test_nobody_there(server, tmp_path):
    with pytest.raises(DownloadError, match=r"http://127.0.0.1:1/f: no connection \(.*\), 3 times in a row"):
        get(tmp_path / "photos.tar", "http://127.0.0.1:1/f")


def test_an_answer_to_another_range_is_refused(server, tmp_path):
    def other(handler):
        send(handler, 206, {"Content-Length": 5, "Content-Range": "bytes 7-11/3000000"}, b"12345")

    with pytest.raises(DownloadError, match="answers something else than asked"):
        get(tmp_path / "photos.tar", server.url("/f", other))


def test_the_published_md5_decides_where_nothing_is_recorded(server, tmp_path):
    url = server.url("/f", ranged(CONTENTS))
    right = server.url("/right", whole(f"{hashlib.md5(CONTENTS).hexdigest()}  photos.tar\n".encode()))
    assert get(tmp_path / "photos.tar", url, expected=None, md5_url=right) == SUM
    assert_here(tmp_path / "photos.tar")
    wrong = server.url("/wrong", whole(b"0" * 32))
    with pytest.raises(DownloadError, match=r"than the published MD5 0{32} tells"):
        get(tmp_path / "other.tar", url, expected=None, md5_url=wrong)
    page = server.url("/page", whole(b"<html>"))
    with pytest.raises(DownloadError, match="does not begin with an MD5"):
        get(tmp_path / "other.tar", url, expected=None, md5_url=page)
    assert not (tmp_path / "other.tar").exists()


def test_too_small_a_disk_is_found_out_before(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * 2**20))
    with pytest.raises(DownloadError, match=r"0.0 GiB are to come, but 0.0 GiB are free; make room"):
        get(tmp_path / "photos.tar", server.url("/f", ranged(CONTENTS)))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_what_it_has(server, tmp_path, monkeypatch):
    """On a disk of 2 MiB, which claims to be larger; with more room the same download goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.getuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**40))
        url = server.url("/f", ranged(CONTENTS))
        with pytest.raises(DownloadError, match=r"photos.tar.part: cannot be written \(No space left on device\)"):
            get(disk / "photos.tar", url)
        assert not (disk / "photos.tar").exists()
        kept = (disk / "photos.tar.part").stat().st_size
        assert kept > 1_000_000
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        get(disk / "photos.tar", url)
        assert_here(disk / "photos.tar")
        assert server.ranges()[-1] == f"bytes={kept}-"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_progress_counts_every_mebibyte(server, tmp_path):
    seen = []

    def progress.over(items, description, total):
        for item in items:
            yield item
            seen.append((description, total))

    file = RemoteFile("photos.tar", (server.url("/f", ranged(CONTENTS)),), MOST)
    download(file, tmp_path / "photos.tar", expected=None, patience=HASTE, progress=progress)
    assert set(seen) == {("download photos.tar (MiB)", 3)}
    assert shutil.disk_usage(tmp_path).free > 0
