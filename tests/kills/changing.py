"""Changes of an index, as functions that the forking process can import; each may be called again when it is done."""

from pathlib import Path

from lrcr.retrieval.collection import merge_indexes, remove_photos
from lrcr.retrieval.searcher import Searcher
from lrcr.retrieval.writer import open_writer


def remove(index: Path, names: list[str]) -> None:
    there = set(Searcher(index).images["name"])
    remove_photos(index, [name for name in names if name in there])


def compact(index: Path) -> None:
    with open_writer(index) as writer:
        writer.compact()
        writer.commit()


def merge(one: Path, other: Path, output: Path) -> None:
    if not output.exists():
        merge_indexes(one, other, output, prefix="b/")
