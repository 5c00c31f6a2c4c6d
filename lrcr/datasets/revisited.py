"""Revisited Oxford and Paris, and their million distractors (Radenović et al., CVPR 2018).

The ground truth lists the images of the database (`imlist`) and the queries (`qimlist`, with boxes), which are not in
the database. The images of both lists are in the archives of the original Oxford and Paris datasets, in the versions
of 2022 (`-v1`), in which faces are blurred. Twenty images of the Paris archives are HTML pages; they are in neither
list and are never read.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from lrcr.config.datasets import DistractorParams, RevisitedParams
from lrcr.data.dataset import GRADES, write_dataset
from lrcr.datasets.contents import FoundImages, find_images, image_key
from lrcr.datasets.fetch import Store
from lrcr.datasets.pickles import read_pickle
from lrcr.datasets.sources import BENCHMARKS, DISTRACTORS, Benchmark
from lrcr.datasets.verify import explain_record, require_counts, require_distinct, require_ids
from lrcr.errors import DatasetError
from lrcr.progress import SILENT, Progress

_log = logging.getLogger(__name__)


class _Query(BaseModel):
    """A query of the public file; ids are positions in `imlist`."""

    model_config = ConfigDict(strict=True)
    bbx: list[float]
    easy: list[int]
    hard: list[int]
    junk: list[int]


class _Truth(BaseModel):
    """The public file `gnd_<name>.pkl`."""

    model_config = ConfigDict(strict=True)
    imlist: list[str]
    qimlist: list[str]
    gnd: list[_Query]


def make_revisited(
    folder: Path, name: str, params: RevisitedParams, store: Store, *, progress: Progress = SILENT
) -> None:
    """Write the tables of Revisited Oxford or Paris into the existing, empty `folder`.

    Raises:
        DownloadError: a file cannot be downloaded or differs from its checksum.
        DatasetError: the files are damaged, incomplete or inconsistent.
    """
    benchmark = BENCHMARKS[params.kind]
    file = store.fetch(benchmark.annotations["ground_truth"], progress).path
    truth = read_revisited(file)
    archives = [store.fetch_archive(archive, progress) for archive in benchmark.archives]
    found = find_images(archives, store.folder, {*truth.imlist, *truth.qimlist}, progress)
    images = _images_table(found.rows(truth.imlist, file))
    queries = _queries_table(truth, found.rows(truth.qimlist, file), file)
    relevance = relevance_table(truth)
    grades = {grade: int((relevance["grade"] == grade).sum()) for grade in GRADES}
    require_counts(params.kind, benchmark, {"images": len(images), "queries": len(queries), **grades})
    parts, facts = [found], dict[str, Any]()
    if params.distractors:
        distractors, facts = find_distractors(BENCHMARKS[DISTRACTORS], store, progress)
        images = _images_table(pd.concat([images, distractors.images], ignore_index=True))
        parts.append(distractors)
    write_dataset(
        folder,
        name=name,
        kind=params.kind,
        params={"distractors": params.distractors},
        root=store.folder,
        orient=False,
        contents=" ".join(part.sha256 for part in parts),
        licence=benchmark.licence,
        tables={"images": images, "queries": queries, "relevance": relevance},
        facts={"source": benchmark.title, **facts},
    )
    for part in parts:
        part.remove_state()


def make_distractors(
    folder: Path, name: str, params: DistractorParams, store: Store, *, progress: Progress = SILENT
) -> None:
    """Write the table of the million distractors, a database without queries, into the existing, empty `folder`.

    Raises:
        DownloadError: a file cannot be downloaded or differs from its checksum.
        DatasetError: the files are damaged or incomplete.
    """
    benchmark = BENCHMARKS[params.kind]
    found, facts = find_distractors(benchmark, store, progress)
    write_dataset(
        folder,
        name=name,
        kind=params.kind,
        params={},
        root=store.folder,
        orient=False,
        contents=found.sha256,
        licence=benchmark.licence,
        tables={"images": _images_table(found.images)},
        facts={"source": benchmark.title, **facts},
    )
    found.remove_state()


def find_distractors(benchmark: Benchmark, store: Store, progress: Progress) -> tuple[FoundImages, dict[str, Any]]:
    """Find the distractors, in the order of the public list.

    Listed images that are not in the archives, or cannot be decoded, are excluded.

    Returns:
        The images, and facts: numbers of `listed` and `missing` images, and the `refused` images with the reason.

    Raises:
        DownloadError: a file cannot be downloaded or differs from its checksum.
        DatasetError: the list or an archive is damaged, or the archives contain none of the listed images.
    """
    file = store.fetch(benchmark.annotations["list"], progress).path
    listed = read_list(file)
    require_counts(DISTRACTORS, benchmark, {"listed": len(listed)})
    archives = [store.fetch_archive(archive, progress) for archive in benchmark.archives]
    keys = [image_key(name) for name in listed]
    found = find_images(archives, store.folder, keys, progress)
    present = [key for key in dict.fromkeys(keys) if key in found.images.index]
    facts = {"listed": len(listed), "missing": len(listed) - len(present), "refused": found.refused}
    if not present:
        raise DatasetError(f"{file}: none of its images is in the archives; download list and archives again")
    if facts["missing"]:
        _log.warning("%s: %d of %d listed images are not in the archives", file, facts["missing"], len(listed))
    return replace(found, images=found.images.loc[present]), facts


def read_list(file: Path) -> list[str]:
    """Read a list of image names, one a line.

    Raises:
        DatasetError: it is not text.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DatasetError(f"{file}: not a list of names in UTF-8; download it again") from None
    return [line.strip() for line in lines if line.strip()]


def read_revisited(file: Path) -> _Truth:
    """Read and check the public ground truth of Revisited Oxford or Paris.

    Raises:
        DatasetError: it does not have this form, or is inconsistent.
    """
    try:
        truth = _Truth.model_validate(read_pickle(file))
    except ValidationError as error:
        raise DatasetError(f"{file}: {explain_record(error)}") from None
    if len(truth.gnd) != len(truth.qimlist):
        raise DatasetError(f"{file}: {len(truth.qimlist)} queries, but grades for {len(truth.gnd)}; download it again")
    require_distinct([*truth.imlist, *truth.qimlist], file)
    for number, query in enumerate(truth.gnd):
        graded = [*query.easy, *query.hard, *query.junk]
        require_ids(graded, len(truth.imlist), f"{file}: query {number}")
        require_distinct(graded, f"{file}: query {number}")
        if len(query.bbx) != 4:
            raise DatasetError(
                f"{file}: query {number} has a box of {len(query.bbx)} numbers, not 4; download it again"
            )
    return truth


def relevance_table(truth: _Truth) -> pd.DataFrame:
    """The table `relevance`."""
    rows = [
        (number, image, grade)
        for number, query in enumerate(truth.gnd)
        for grade in GRADES
        for image in getattr(query, grade)
    ]
    return pd.DataFrame(rows, columns=["query", "image", "grade"])


def _images_table(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.reset_index(drop=True).assign(image=range(len(rows)), label=None)


def _queries_table(truth: _Truth, rows: pd.DataFrame, file: Path) -> pd.DataFrame:
    """The table `queries`; boxes are clipped to their images."""
    boxes = np.array([query.bbx for query in truth.gnd], np.float64).reshape(-1, 4)
    size = rows[["width", "height", "width", "height"]].to_numpy(np.float64)
    boxes = np.clip(boxes, 0, size)
    empty = ~((boxes[:, 2:].round() > boxes[:, :2].round()).all(axis=1))
    if empty.any():
        raise DatasetError(f"{file}: the box of query {int(empty.argmax())} contains no pixel; download it again")
    table = rows.assign(query=range(len(rows)), image=None)
    table[["x0", "y0", "x1", "y1"]] = boxes
    return table
