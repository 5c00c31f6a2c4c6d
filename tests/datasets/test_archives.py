import io
import tarfile
from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.datasets.archives import Member, list_members
from lrcr.errors import DatasetError

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
PART = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/."), min_size=1)


def pack(members, kind: int = tarfile.GNU_FORMAT) -> bytes:
    """An archive of TarInfo or (name, contents)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
        for member in members:
            name, contents = member if isinstance(member, tuple) else (member, b"")
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(contents)
            tar.addfile(info, io.BytesIO(contents))
    return buffer.getvalue()


def write(folder, contents: bytes):
    path = folder / "photos.tar"
    path.write_bytes(contents)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("archives")


@settings(deadline=None)
@given(
    st.sampled_from(FORMATS[1:]),
    st.lists(st.tuples(st.lists(PART, min_size=1, max_size=5).map("/".join), st.binary(max_size=1500)), max_size=6),
)
def test_members_agree_with_tarfile(folder, kind, members):
    contents = pack(members, kind)
    path = write(folder, contents)
    found = list_members(path)
    with tarfile.open(path) as tar:
        assert [astuple(member) for member in found] == [(m.name, m.offset_data, m.size) for m in tar.getmembers()]
    assert [contents[m.offset : m.offset + m.bytes] for m in found] == [data for _, data in members]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("length", [20, 99, 100, 101, 155, 200, 240])
def test_long_names_in_every_format(tmp_path, kind, length):
    name = "/".join("abcdefghi" for _ in range(30))[:length].strip("/")
    path = write(tmp_path, pack([("first", b"1"), (name, b"22"), ("last", b"333")], kind))
    assert [member.name for member in list_members(path)] == ["first", name, "last"]


def test_folders_are_skipped_and_an_empty_archive_is_empty(tmp_path):
    inside = tarfile.TarInfo("ims")
    inside.type = tarfile.DIRTYPE
    contents = pack([inside, ("ims/a", b"12")])
    assert list_members(write(tmp_path, contents)) == [Member("ims/a", 1024, 2)]
    assert list_members(write(tmp_path, pack([]))) == []
    assert list_members(write(tmp_path, b"")) == []


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def sparse() -> bytes:
    member = tarfile.TarInfo("big")
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99999999999"}
    return pack([member], tarfile.PAX_FORMAT)


def unsafe(name: str) -> str:
    return f"the name {name!r} is absolute, contains '..' or is not printable"


LONG = "a/" * 100 + "../" * 101 + "escaped"
HOSTILE = {
    "absolute": (pack([("/etc/passwd", b"x")]), unsafe("/etc/passwd")),
    "parent": (pack([("../../escaped", b"x")]), unsafe("../../escaped")),
    "parent within": (pack([("a/../../escaped", b"x")]), unsafe("a/../../escaped")),
    "parent in a long name": (pack([(LONG, b"x")]), unsafe(LONG)),
    "parent in pax": (pack([("é/../../escaped", b"x")], tarfile.PAX_FORMAT), unsafe("é/../../escaped")),
    "control characters": (pack([("a\n\x1b[2Jb", b"x")]), unsafe("a\n\x1b[2Jb")),
    "symbolic link": (
        pack([info("link", tarfile.SYMTYPE, "/etc")]),
        "'link' is neither a file nor a folder (type b'2')",
    ),
    "hard link": (
        pack([info("link", tarfile.LNKTYPE, "/etc/passwd")]),
        "'link' is neither a file nor a folder (type b'1')",
    ),
    "character device": (pack([info("null", tarfile.CHRTYPE)]), "'null' is neither a file nor a folder (type b'3')"),
    "block device": (pack([info("disk", tarfile.BLKTYPE)]), "'disk' is neither a file nor a folder (type b'4')"),
    "pipe": (pack([info("pipe", tarfile.FIFOTYPE)]), "'pipe' is neither a file nor a folder (type b'6')"),
    "sparse": (sparse(), "the member after byte 512 is sparse, not a plain file"),
    "truncated member": (
        pack([("a", b"x" * 4000)])[:2000],
        "the member at byte 512 has 4000 bytes, but the archive ends before its end",
    ),
    "truncated header": (pack([("a", b"x" * 512), ("b", b"x")])[:1300], "truncated at byte 1024"),
    "page of the web": (b"<html>" * 200, "not a tar header at byte 0"),
    "compressed": (b"\x1f\x8b" + bytes(600), "not a tar header at byte 0"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_damaged_archives_are_refused(tmp_path, monkeypatch, name):
    contents, message = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, contents)
    with pytest.raises(DatasetError) as error:
        list_members(path)
    assert str(error.value) == f"{path}: {message}; download it again"
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [path]


def forged(size_field: bytes) -> bytes:
    """An archive whose only member has another size in its header, with the right checksum of the header."""
    block = bytearray(pack([("a", b"x")])[:512])
    block[124:136] = size_field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


@pytest.mark.parametrize(
    "field",
    [b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-0000000001\0", b"0x000000001\0", b"          9\0"],
    ids=repr,
)
def test_impossible_sizes_are_refused(tmp_path, field):
    with pytest.raises(
        DatasetError,
        match=r"photos.tar: (the member at byte 512 has \d+ bytes, but the archive ends|not a tar header at byte 0)",
    ):
        list_members(write(tmp_path, forged(field)))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_altered_archives_are_refused_or_have_members_inside(folder, data):
    kind = data.draw(st.sampled_from(FORMATS))
    contents = bytearray(pack([("a", b"1" * 600), ("b" * 90 + "/" + "c" * 90, b"2"), ("ü", b"3" * 10)], kind))
    for _ in range(data.draw(st.integers(1, 3))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        fix_checksums(contents)
    list_or_refuse(write(folder, bytes(contents[: data.draw(st.integers(0, len(contents)))])))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_are_refused_or_listed(folder, contents):
    list_or_refuse(write(folder, contents))


def fix_checksums(contents: bytearray) -> None:
    """Give every block the checksum of a header, so that the alteration is not detected by it."""
    for start in range(0, len(contents), 512):
        block = contents[start : start + 512]
        if len(block) == 512 and any(block):
            block[148:156] = b" " * 8
            contents[start + 148 : start + 156] = b"%06o\0 " % sum(block)


def list_or_refuse(path) -> None:
    size = path.stat().st_size
    try:
        members = list_members(path)
    except DatasetError as error:
        assert "\n" not in str(error)
        return
    for member in members:
        assert 0 <= member.offset <= member.offset + member.bytes <= size
        assert not member.name.startswith("/") and ".." not in member.name.split("/")
