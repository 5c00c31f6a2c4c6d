"""Segments that an executor writes, each from some files of postings: the same segments as in one process."""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lrcr.progress import Progress
from lrcr.retrieval.asmk.aggregation import read_aggregated
from lrcr.retrieval.asmk.segments import Layout, write_segment
from lrcr.runtime.jobs import Executor, Job
from lrcr.storage.artifacts import read_json, staged_folder, write_json
from lrcr.storage.state import take_finished

_SEGMENT, _ENTRY = "segment", "entry.json"


def share_segments(
    files: Sequence[Path], layout: Layout, memory: int, folder: Path, executor: Executor, progress: Progress
) -> list[dict[str, Any]]:
    """Write the segments that `write_segments` writes from the postings in some files, at least one.

    Args:
        files: postings of consecutive images, as `write_aggregated` writes them. The segments are written beside them
            and stay there, so that a run after a kill continues.
        memory: bytes that the postings of a segment may take while they are sorted; those of one file may take more.
        folder: of the index.
        executor: writes the segments.

    Returns:
        What `write_segment` returned for each segment.

    Raises:
        ArtifactError: the postings of a file do not fit the layout.
    """
    groups = list(_groups(files, memory // layout.posting_bytes))
    state = files[0].parent
    jobs = [Job(group, state / f"{_SEGMENT}-{number:04d}", number) for number, group in enumerate(groups)]
    with progress.task("index", len(files)) as task:
        missing = [job for job in jobs if not job.file.exists()]
        task.advance(len(files) - sum(len(job.items) for job in missing))
        executor.map(_WriteSegment(layout), missing, task)
    return [_take(job.file, folder) for job in jobs]


def _groups(files: Sequence[Path], most: int) -> Iterator[list[Path]]:
    """The files of each segment: as many as have no more than `most` postings together."""
    waiting: list[Path] = []
    postings = 0
    for file in files:
        count = _postings(file)
        if waiting and postings + count > most:
            yield waiting
            waiting, postings = [], 0
        waiting.append(file)
        postings += count
    yield waiting


def _postings(file: Path) -> int:
    """The number of postings in a file, from the header of its array of words."""
    with zipfile.ZipFile(file) as arrays, arrays.open("words.npy") as words:
        np.lib.format.read_magic(words)
        shape, _, _ = np.lib.format.read_array_header_1_0(words)
    return int(shape[0])


def _take(written: Path, folder: Path) -> dict[str, Any]:
    """Take a segment into the folder of an index."""
    take_finished(written / _SEGMENT, folder / written.name)
    entry: dict[str, Any] = read_json(written / _ENTRY)
    return {**entry, "folder": written.name}


@dataclass(frozen=True)
class _WriteSegment:
    """Writes a folder of a segment and its entry; see `lrcr.runtime.jobs.Make`."""

    layout: Layout

    def __call__(self, files: Sequence[Path], file: Path, progress: Progress) -> None:
        parts = []
        for source in files:
            parts.append(read_aggregated(source))
            self.layout.require(parts[-1], str(source))
            progress.advance()
        with staged_folder(file) as temporary:
            write_json(temporary / _ENTRY, write_segment(temporary / _SEGMENT, parts, self.layout))
