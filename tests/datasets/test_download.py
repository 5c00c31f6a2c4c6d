import hashlib
import os
import shutil
import subprocess
from itertools import repeat
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.datasets.download import download
from lrcr.datasets.remote import Checksum, RemoteFile, RetryPolicy
from lrcr.errors import DownloadError

from .progress import RecordedProgress
from .server import endless, first, ranged, redirect, send, serve, stalled, status, whole

CONTENTS = np.random.default_rng(0).bytes(3_000_000)
SUM = Checksum(len(CONTENTS), hashlib.sha256(CONTENTS).hexdigest())
FAST = RetryPolicy(timeout=0.3, attempts=3, pause=0.01)
MAX_BYTES = 5_000_000


@pytest.fixture(scope="module")
def server():
    with serve() as running:
        yield running


@pytest.fixture(autouse=True)
def no_requests(server):
    server.pages.clear()
    server.requests.clear()


def get(path, *urls: str, expected: Checksum | None = SUM, retry: RetryPolicy = FAST, **more) -> Checksum:
    file = RemoteFile("photos.tar", urls, MAX_BYTES, **more)
    return download(file, path, expected=expected, retry=retry)


def assert_complete(path) -> None:
    assert path.read_bytes() == CONTENTS
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_is_downloaded_and_nothing_else_remains(server, tmp_path):
    path = tmp_path / "photos.tar"
    assert get(path, server.url("/f", ranged(CONTENTS)), expected=None) == SUM
    assert_complete(path)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, len(CONTENTS)), max_size=5))
def test_connections_that_end_after_random_bytes_are_resumed(server, tmp_path_factory, cuts):
    server.requests.clear()
    path = tmp_path_factory.mktemp("cut") / "photos.tar"
    get(path, server.url("/f", ranged(CONTENTS, cuts=iter(cuts))), retry=RetryPolicy(1, 6, 0.001))
    assert_complete(path)
    received, expected = 0, [None]
    for cut in cuts:
        received += cut
        if received >= len(CONTENTS):
            break
        expected.append(f"bytes={received}-" if received else None)
    assert server.ranges() == expected


def test_many_interruptions_are_no_failure_while_new_data_arrive(server, tmp_path):
    get(tmp_path / "photos.tar", server.url("/f", ranged(CONTENTS, cuts=repeat(100_000, 25))))
    assert_complete(tmp_path / "photos.tar")
    assert server.ranges() == [None, *(f"bytes={100_000 * i}-" for i in range(1, 26))]


def test_a_server_without_ranges_sends_the_whole_file_again(server, tmp_path):
    def cut(handler):
        send(handler, 200, {"Content-Length": len(CONTENTS), "ETag": '"v1"'}, CONTENTS[:1_000_000])

    get(tmp_path / "photos.tar", server.url("/f", first(cut, whole(CONTENTS))))
    assert_complete(tmp_path / "photos.tar")
    assert server.ranges() == [None, "bytes=1000000-"]


def test_a_download_without_a_version_is_not_resumed(server, tmp_path):
    def cut(handler):
        send(handler, 200, {"Content-Length": len(CONTENTS)}, CONTENTS[:1_000_000])

    get(tmp_path / "photos.tar", server.url("/f", first(cut, whole(CONTENTS, tag=None))))
    assert server.ranges() == [None, None]
    assert_complete(tmp_path / "photos.tar")


def test_two_versions_are_never_joined(server, tmp_path):
    old = bytes(1_000_000) + CONTENTS[1_000_000:]
    versions = first(ranged(old, cuts=iter([1_000_000]), tag='"old"'), ranged(CONTENTS, tag='"new"'))
    assert get(tmp_path / "photos.tar", server.url("/f", versions), expected=None) == SUM
    assert_complete(tmp_path / "photos.tar")


def test_the_next_run_resumes_the_download(server, tmp_path):
    path = tmp_path / "photos.tar"
    url = server.url("/f", first(ranged(CONTENTS, cuts=iter([700_000])), status(503)))
    with pytest.raises(DownloadError, match="status 503, 3 times in a row"):
        get(path, url)
    assert path.with_name("photos.tar.part").stat().st_size == 700_000
    get(path, server.url("/f", ranged(CONTENTS)))
    assert server.ranges()[-1] == "bytes=700000-"
    assert_complete(path)


def test_a_complete_part_is_not_downloaded_again(server, tmp_path):
    """A run may be killed while it compares the checksum."""
    part = tmp_path / "photos.tar.part"
    part.write_bytes(CONTENTS)
    part.with_name("photos.tar.part.json").write_text('{"version": "\\"v1\\""}')
    get(tmp_path / "photos.tar", server.url("/f", ranged(CONTENTS)), expected=None)
    assert server.ranges() == [f"bytes={len(CONTENTS)}-"]
    assert_complete(tmp_path / "photos.tar")


@pytest.mark.parametrize("kept", [1_000_000, len(CONTENTS), len(CONTENTS) + 5])
def test_a_part_of_another_file_is_discarded(server, tmp_path, kept):
    part = tmp_path / "photos.tar.part"
    part.write_bytes(bytes(kept))
    part.with_name("photos.tar.part.json").write_text('{"version": "\\"v1\\""}')
    get(tmp_path / "photos.tar", server.url("/f", ranged(CONTENTS)))
    assert_complete(tmp_path / "photos.tar")


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"version": 1}', '{"version": "a\\nHost: b"}', "\x00"])
def test_a_part_without_a_valid_version_is_discarded(server, tmp_path, note):
    (tmp_path / "photos.tar.part").write_bytes(CONTENTS[:1000])
    (tmp_path / "photos.tar.part.json").write_text(note)
    get(tmp_path / "photos.tar", server.url("/f", ranged(CONTENTS)))
    assert server.ranges() == [None]


def test_wrong_content_is_refused_and_the_next_mirror_tried(server, tmp_path):
    wrong = server.url("/wrong", whole(CONTENTS[::-1]))
    with pytest.raises(DownloadError) as error:
        get(tmp_path / "photos.tar", wrong)
    assert str(error.value) == (
        f"photos.tar: cannot be downloaded ({wrong}: has 3000000 bytes and SHA-256 "
        f"{hashlib.sha256(CONTENTS[::-1]).hexdigest()}, not the expected 3000000 and {SUM.sha256}); "
        "try again later, or put the file into $LRCR_ARCHIVES"
    )
    assert list(tmp_path.iterdir()) == []
    get(tmp_path / "photos.tar", wrong, server.url("/right", whole(CONTENTS)))
    assert_complete(tmp_path / "photos.tar")


def test_wrong_length_is_refused_before_the_transfer(server, tmp_path):
    urls = server.url("/short", whole(CONTENTS[:-1])), server.url("/long", whole(CONTENTS + b"x"))
    with pytest.raises(
        DownloadError, match=r"/short: has 2999999 bytes, not the expected 3000000; .*/long: has 3000001 bytes, not"
    ):
        get(tmp_path / "photos.tar", *urls)
    get(tmp_path / "photos.tar", *urls, server.url("/right", whole(CONTENTS)))
    assert_complete(tmp_path / "photos.tar")


def test_a_missing_file_is_downloaded_from_the_next_mirror(server, tmp_path):
    get(tmp_path / "photos.tar", server.address + "/none", server.url("/mirror", ranged(CONTENTS)))
    assert_complete(tmp_path / "photos.tar")
    assert [path for path, _ in server.requests] == ["/none", "/mirror"]


def test_mirrors_are_tried_in_order(server, tmp_path):
    urls = [server.url(f"/{i}", whole(CONTENTS)) for i in range(3)]
    get(tmp_path / "photos.tar", *urls)
    assert [path for path, _ in server.requests] == ["/0"]


def test_a_temporary_failure_is_retried(server, tmp_path):
    get(tmp_path / "photos.tar", server.url("/f", first(status(503), status(429), ranged(CONTENTS))))
    assert_complete(tmp_path / "photos.tar")
    assert server.ranges() == [None] * 3


def test_redirects_are_followed_and_an_endless_one_is_refused(server, tmp_path):
    target = server.url("/target", ranged(CONTENTS))
    get(tmp_path / "photos.tar", server.url("/f", redirect(target)))
    assert_complete(tmp_path / "photos.tar")
    loop = server.url("/loop", redirect(server.address + "/loop"))
    with pytest.raises(DownloadError, match="status 302"):
        get(tmp_path / "other.tar", loop)


def test_a_redirect_to_a_local_file_is_refused(server, tmp_path):
    (tmp_path / "secret").write_bytes(CONTENTS)
    with pytest.raises(DownloadError, match=r"/f: status 302\)"):
        get(tmp_path / "photos.tar", server.url("/f", redirect(f"file://{tmp_path}/secret")))
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_a_stalled_connection_is_closed_and_resumed(server, tmp_path):
    get(tmp_path / "photos.tar", server.url("/f", first(stalled(CONTENTS, server), ranged(CONTENTS))))
    assert_complete(tmp_path / "photos.tar")
    assert server.ranges() == [None, "bytes=1500000-"]


def test_a_server_that_always_stalls_is_abandoned(server, tmp_path):
    with pytest.raises(DownloadError, match=r"interrupted \(timed out\), 3 times in a row"):
        get(tmp_path / "photos.tar", server.url("/f", stalled(CONTENTS, server)))


@pytest.mark.parametrize("chunked", [True, False])
def test_an_endless_response_is_aborted(server, tmp_path, chunked):
    url = server.url("/f", endless(chunked=chunked))
    with pytest.raises(DownloadError, match="sends more than 3000000 bytes"):
        get(tmp_path / "photos.tar", url)
    with pytest.raises(DownloadError, match="does not state the size of the file"):
        get(tmp_path / "photos.tar", url, expected=None)
    assert {file.name for file in tmp_path.iterdir()} == {"photos.tar.part", "photos.tar.part.json"}
    assert (tmp_path / "photos.tar.part").stat().st_size <= 3_000_000


def test_a_file_above_the_size_limit_is_not_downloaded(server, tmp_path):
    url = server.url("/f", lambda handler: send(handler, 200, {"Content-Length": 10**15}))
    with pytest.raises(DownloadError, match="has 1000000000000000 bytes, more than the limit of 5000000"):
        get(tmp_path / "photos.tar", url, expected=None)


def test_no_server(server, tmp_path):
    with pytest.raises(DownloadError, match=r"http://127.0.0.1:1/f: no connection \(.*\), 3 times in a row"):
        get(tmp_path / "photos.tar", "http://127.0.0.1:1/f")


def test_a_response_with_another_range_is_refused(server, tmp_path):
    def other(handler):
        send(handler, 206, {"Content-Length": 5, "Content-Range": "bytes 7-11/3000000"}, b"12345")

    with pytest.raises(DownloadError, match=r"sends another range than requested \(status 206\)"):
        get(tmp_path / "photos.tar", server.url("/f", other))


def test_the_published_md5_is_verified_if_no_checksum_is_recorded(server, tmp_path):
    url = server.url("/f", ranged(CONTENTS))
    right = server.url("/right", whole(f"{hashlib.md5(CONTENTS).hexdigest()}  photos.tar\n".encode()))
    assert get(tmp_path / "photos.tar", url, expected=None, md5_url=right) == SUM
    assert_complete(tmp_path / "photos.tar")
    wrong = server.url("/wrong", whole(b"0" * 32))
    with pytest.raises(
        DownloadError, match=rf"has MD5 {hashlib.md5(CONTENTS).hexdigest()}, not the published 0{{32}}\)"
    ):
        get(tmp_path / "other.tar", url, expected=None, md5_url=wrong)
    page = server.url("/page", whole(b"<html>"))
    with pytest.raises(DownloadError, match="/page: does not begin with an MD5; try again later"):
        get(tmp_path / "other.tar", url, expected=None, md5_url=page)
    assert not (tmp_path / "other.tar").exists()


def test_a_small_disk_is_noticed_before_the_transfer(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * 2**20))
    with pytest.raises(
        DownloadError, match=r"the download needs 0.0 GiB, but 0.0 GiB are free; free some space, or set"
    ):
        get(tmp_path / "photos.tar", server.url("/f", ranged(CONTENTS)))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_part_already_written(server, tmp_path, monkeypatch):
    """On a disk of 2 MiB that reports more free space; once it is enlarged, the download is resumed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.getuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**40))
        url = server.url("/f", ranged(CONTENTS))
        with pytest.raises(
            DownloadError, match=r"photos.tar.part: cannot be written \(No space left on device\); free"
        ):
            get(disk / "photos.tar", url)
        assert not (disk / "photos.tar").exists()
        kept = (disk / "photos.tar.part").stat().st_size
        assert kept > 1_000_000
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        get(disk / "photos.tar", url)
        assert_complete(disk / "photos.tar")
        assert server.ranges()[-1] == f"bytes={kept}-"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_progress_counts_mebibytes(server, tmp_path):
    progress = RecordedProgress()
    file = RemoteFile("photos.tar", (server.url("/f", ranged(CONTENTS)),), MAX_BYTES)
    download(file, tmp_path / "photos.tar", expected=None, retry=FAST, progress=progress)
    assert progress.tasks == [("download photos.tar (MiB)", 3, 2)]  # the last MiB is incomplete
