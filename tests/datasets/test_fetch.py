import gzip
import hashlib
import io
import json
import logging
import os
import tarfile
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from lrcr.datasets.archives import list_members
from lrcr.datasets.checksums import Checksums
from lrcr.datasets.fetch import Store
from lrcr.datasets.remote import Checksum, RemoteFile, RetryPolicy
from lrcr.errors import DatasetError, DownloadError

from .server import ranged, serve, wait_until, whole

FAST = RetryPolicy(timeout=1, attempts=2, pause=0.01)


def checksum_of(contents: bytes) -> Checksum:
    return Checksum(len(contents), hashlib.sha256(contents).hexdigest())


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, contents in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(contents)
            tar.addfile(info, io.BytesIO(contents))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def server():
    with serve() as running:
        yield running


@pytest.fixture
def store(tmp_path, server) -> Store:
    server.requests.clear()
    return Store(tmp_path / "downloads", Checksums(tmp_path / "checksums.json"), tmp_path / "user", FAST)


def remote(server, contents: bytes, name: str = "set/photos.tar", **more) -> RemoteFile:
    return RemoteFile(name, (server.url(f"/{name}", ranged(contents)),), 10**8, **more)


def visible(folder: Path) -> set[str]:
    """The files below a folder, without hidden ones."""
    files = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return {str(file) for file in files if not file.parts[0].startswith(".")}


def test_the_first_download_is_recorded_and_not_repeated(server, store):
    file = remote(server, b"contents")
    fetched = store.fetch(file)
    assert fetched.path == store.folder / "set/photos.tar"
    assert fetched.path.read_bytes() == b"contents"
    recorded = json.loads(store.checksums.path.read_text())
    assert recorded == {"set/photos.tar": {"bytes": 8, "sha256": hashlib.sha256(b"contents").hexdigest()}}
    assert store.fetch(file) == fetched
    assert len(server.requests) == 1
    assert visible(store.folder) == {"set/photos.tar"}


def test_later_downloads_are_compared_with_the_record(server, store):
    store.fetch(remote(server, b"contents")).path.unlink()
    with pytest.raises(
        DownloadError,
        match=r"set/photos.tar: cannot be downloaded .* has 8 bytes and SHA-256 \w+, not the expected 8 and",
    ):
        store.fetch(remote(server, b"CONTENTS"))
    with pytest.raises(DownloadError, match="has 7 bytes, not the expected 8"):
        store.fetch(remote(server, b"content"))
    assert visible(store.folder) == set()


def test_a_file_changed_on_the_disk_is_refused(server, store):
    file = remote(server, b"contents")
    path = store.fetch(file).path
    path.write_bytes(b"CONTENTS")
    with pytest.raises(
        DownloadError, match=r"photos.tar: has 8 bytes and SHA-256 \w+, but .*checksums.json records 8 and \w+; get the"
    ):
        store.fetch(file)


def test_a_file_is_hashed_again_only_when_it_has_changed(server, store, monkeypatch):
    file = remote(server, b"contents")
    path = store.fetch(file).path
    monkeypatch.setattr("lrcr.datasets.fetch.hash_file", lambda _: pytest.fail("hashed again"))
    store.fetch(file)
    os.utime(path)
    with pytest.raises(BaseException, match="hashed again"):
        store.fetch(file)


def test_a_pinned_checksum_needs_no_record(server, store):
    store.fetch(remote(server, b"contents", pinned=checksum_of(b"contents")))
    assert not store.checksums.path.exists()
    with pytest.raises(DownloadError, match=r"other.tar: cannot be downloaded .* not the expected 8 and"):
        store.fetch(remote(server, b"CONTENTS", "other.tar", pinned=checksum_of(b"contents")))


def test_the_users_own_copy_comes_first_and_is_never_written(server, store):
    own = store.user_folder / "set/photos.tar"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"contents")
    assert store.fetch(remote(server, b"contents")).path == own
    assert server.requests == []
    assert visible(store.user_folder) == {"set/photos.tar"}
    own.write_bytes(b"something else")
    with pytest.raises(
        DownloadError, match=r"user/set/photos.tar: has 14 bytes and SHA-256 \w+, but .*checksums.json records 8 and"
    ):
        store.fetch(remote(server, b"contents"))
    with pytest.raises(
        DownloadError,
        match=r"user/set/photos.tar: has 14 .*, not the expected 8 and \w+; remove it, and lrcr will download it again",
    ):
        store.fetch(remote(server, b"contents", pinned=checksum_of(b"contents")))


@pytest.mark.parametrize("name", ["set/photos.tar.gz", "photos.tgz"])
def test_compressed_archives_are_decompressed_once(server, store, name):
    contents = archive(a=b"1" * 700, b=b"22")
    compressed = gzip.compress(contents)
    file = remote(server, compressed, name)
    fetched = store.fetch_archive(file)
    assert fetched.path.read_bytes() == contents
    assert fetched.checksum == checksum_of(compressed)
    assert visible(store.folder) == {name.split(".")[0] + ".tar"}
    assert store.fetch_archive(file) == fetched
    assert len(server.requests) == 1
    fetched.path.write_bytes(b"touched")
    assert store.fetch_archive(file).path.read_bytes() == contents
    assert len(server.requests) == 2


def test_a_decompressed_archive_is_compared_with_the_record(server, store):
    file = remote(server, gzip.compress(archive(a=b"1")), "photos.tgz")
    store.fetch_archive(file)
    record = json.loads(store.checksums.path.read_text())
    record["photos.tgz"]["sha256"] = "0" * 64
    store.checksums.path.write_text(json.dumps(record))
    with pytest.raises(
        DownloadError, match=r"photos.tar: has \d+ bytes and SHA-256 \w+, but .*checksums.json records \d+ and 0{64};"
    ):
        store.fetch_archive(file)


def test_the_users_own_compressed_archive_is_kept(server, store):
    own = store.user_folder / "photos.tgz"
    own.parent.mkdir(parents=True)
    own.write_bytes(gzip.compress(archive(a=b"1")))
    fetched = store.fetch_archive(remote(server, b"", "photos.tgz"))
    assert [member.name for member in list_members(fetched.path)] == ["a"]
    assert own.exists()
    assert server.requests == []


def test_an_uncompressed_archive_is_used_directly(server, store):
    fetched = store.fetch_archive(remote(server, archive(a=b"1")))
    assert fetched.path == store.folder / "set/photos.tar"
    assert visible(store.folder) == {"set/photos.tar"}


def test_the_users_own_archive_is_linked(server, store):
    own = store.user_folder / "set/photos.tar"
    own.parent.mkdir(parents=True)
    own.write_bytes(archive(a=b"1"))
    for _ in range(2):
        fetched = store.fetch_archive(remote(server, b""))
        assert fetched.path == store.folder / "set/photos.tar"
        assert fetched.path.readlink() == own
    own.unlink()
    store.checksums.path.unlink()
    assert store.fetch_archive(remote(server, archive(b=b"2"))).path.is_symlink() is False


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"<html>not found</html>", r"not a complete gzip file \(Not a gzipped file .*\); download it again"),
        (gzip.compress(b"a" * 10_000)[:-9], r"not a complete gzip file \(Compressed file ended .*\); download"),
        (gzip.compress(bytes(50_000_000)), r"its \d+ bytes decompress to more than \d+; download it again"),
    ],
    ids=["page", "truncated", "bomb"],
)
def test_bad_compressed_archives_leave_no_archive(server, store, contents, message):
    with pytest.raises(DatasetError, match=rf"downloads/photos.tgz: {message}") as error:
        store.fetch_archive(remote(server, contents, "photos.tgz"))
    assert "\n" not in str(error.value)
    assert visible(store.folder) == {"photos.tgz"}


def test_two_runs_wait_for_each_other(server, store, caplog):
    store.folder.mkdir(parents=True)
    other = FileLock(store.folder / ".lock")
    found = []
    with other, caplog.at_level(logging.WARNING):
        thread = threading.Thread(target=lambda: found.append(store.fetch(remote(server, b"contents"))))
        thread.start()
        wait_until(lambda: "downloads: in use by another run; waiting until that run has finished" in caplog.text)
        assert found == []
    thread.join(10)
    assert found[0].path.read_bytes() == b"contents"


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', '{"a": {"bytes": "1", "sha256": "x"}}', '{"a": {}}'])
def test_a_damaged_record_is_refused(server, store, text):
    store.checksums.path.write_text(text)
    with pytest.raises(
        DownloadError, match=r"checksums.json: not a record of checksums; restore it from version control$"
    ):
        store.fetch(remote(server, b"contents"))


def test_the_environment_sets_the_folders(tmp_path, monkeypatch):
    for name in ("LRCR_DOWNLOADS", "LRCR_ARCHIVES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = Store.from_environment(tmp_path / "c.json")
    assert (store.folder, store.user_folder) == (tmp_path / "lrcr-downloads", None)
    monkeypatch.setenv("LRCR_DOWNLOADS", str(tmp_path / "d"))
    monkeypatch.setenv("LRCR_ARCHIVES", str(tmp_path / "a"))
    store = Store.from_environment(tmp_path / "c.json")
    assert (store.folder, store.user_folder) == (tmp_path / "d", tmp_path / "a")


def test_a_folder_that_cannot_be_created_is_refused(server, tmp_path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "downloads", Checksums(tmp_path / "c.json"), None, FAST)
    with pytest.raises(
        DownloadError, match=r"file/downloads: Not a directory; set \$LRCR_DOWNLOADS to another folder$"
    ):
        store.fetch(RemoteFile("f", (server.url("/f", whole(b"x")),), 10))
