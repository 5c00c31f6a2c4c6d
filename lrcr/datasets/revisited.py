"""Revisited Oxford and Paris, and their million distractors (Radenović et al., CVPR 2018).

The ground truth names the images of the database (`imlist`) and the queries (`qimlist`, with boxes), which are not in
the database. Both lie in the archives of the first Oxford and Paris sets; twenty images of Paris are pages of HTML
there and belong to neither list, so they are never read. The archives are those of 2022 (`-v1`), with faces blurred.
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
from lrcr.datasets.contents import Contents, find_images, key_of
from lrcr.datasets.fetch import Store
from lrcr.datasets.pickles import read_pickle
from lrcr.datasets.sources import BENCHMARKS, DISTRACTORS, Benchmark
from lrcr.datasets.verify import explain_record, require_counts, require_distinct, require_ids
from lrcr.errors import DatasetError
from lrcr.progress import SILENT, Progress

_log = logging.getLogger(__name__)


class _Query(BaseModel):
    """What the public file says of a query; ids count in `imlist`."""

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
        DownloadError: a file cannot be had.
        DatasetError: the files are damaged, contradict each other, or do not hold what they must.
    """
    benchmark = BENCHMARKS[params.kind]
    file = store.fetch(benchmark.truth["truth"], progress).path
    truth = read_revisited(file)
    archives = [store.fetch_archive(archive, progress) for archive in benchmark.archives]
    contents = find_images(archives, store.folder, {*truth.imlist, *truth.qimlist}, progress)
    images = _as_images(contents.rows(truth.imlist, file))
    queries = _as_queries(truth, contents.rows(truth.qimlist, file), file)
    relevance = graded_table(truth)
    grades = {grade: int((relevance["grade"] == grade).sum()) for grade in GRADES}
    require_counts(params.kind, benchmark, {"images": len(images), "queries": len(queries), **grades})
    parts, facts = [contents], dict[str, Any]()
    if params.distractors:
        more, facts = find_distractors(BENCHMARKS[DISTRACTORS], store, progress)
        images = _as_images(pd.concat([images, more.images], ignore_index=True))
        parts.append(more)
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
        part.forget()


def make_distractors(
    folder: Path, name: str, params: DistractorParams, store: Store, *, progress: Progress = SILENT
) -> None:
    """Write the table of the million distractors, a database that nothing is asked of, into `folder`.

    Raises:
        DownloadError: a file cannot be had.
        DatasetError: the files are damaged, or do not hold what they must.
    """
    benchmark = BENCHMARKS[params.kind]
    contents, facts = find_distractors(benchmark, store, progress)
    write_dataset(
        folder,
        name=name,
        kind=params.kind,
        params={},
        root=store.folder,
        orient=False,
        contents=contents.sha256,
        licence=benchmark.licence,
        tables={"images": _as_images(contents.images)},
        facts={"source": benchmark.title, **facts},
    )
    contents.forget()


def find_distractors(benchmark: Benchmark, store: Store, progress: Progress) -> tuple[Contents, dict[str, Any]]:
    """The distractors in the order of their list, and what the archives lack.

    The list names images that the archives do not hold, and some that cannot be decoded may be among those they hold:
    both are left out, counted and told.

    Raises:
        DownloadError: a file cannot be had.
        DatasetError: the list or an archive is damaged, or not one of the listed images is there.
    """
    file = store.fetch(benchmark.truth["list"], progress).path
    listed = read_list(file)
    require_counts(DISTRACTORS, benchmark, {"listed": len(listed)})
    archives = [store.fetch_archive(archive, progress) for archive in benchmark.archives]
    keys = [key_of(name) for name in listed]
    contents = find_images(archives, store.folder, keys, progress)
    there = [key for key in dict.fromkeys(keys) if key in contents.images.index]
    facts = {"listed": len(listed), "missing": len(listed) - len(there), "refused": contents.refused}
    if not there:
        raise DatasetError(f"{file}: names no image of the archives; get list and archives from one publisher")
    if facts["missing"]:
        _log.warning("%s: %d of %d listed images are not in the archives", file, facts["missing"], len(listed))
    return replace(contents, images=contents.images.loc[there]), facts


def read_list(file: Path) -> list[str]:
    """Read a list of image names, one a line.

    Raises:
        DatasetError: it is not text.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DatasetError(f"{file}: not a list of names in UTF-8; get another copy") from None
    return [line.strip() for line in lines if line.strip()]


def read_revisited(file: Path) -> _Truth:
    """Read and check the public ground truth of Revisited Oxford or Paris.

    Raises:
        DatasetError: it is not of this form, or contradicts itself.
    """
    try:
        truth = _Truth.model_validate(read_pickle(file))
    except ValidationError as error:
        raise DatasetError(f"{file}: {explain_record(error)}") from None
    if len(truth.gnd) != len(truth.qimlist):
        raise DatasetError(f"{file}: {len(truth.qimlist)} queries, but grades for {len(truth.gnd)}; get another copy")
    require_distinct([*truth.imlist, *truth.qimlist], file)
    for number, query in enumerate(truth.gnd):
        graded = [*query.easy, *query.hard, *query.junk]
        require_ids(graded, len(truth.imlist), f"{file}: query {number}")
        require_distinct(graded, f"{file}: query {number}")
        if len(query.bbx) != 4:
            raise DatasetError(f"{file}: query {number} has a box of {len(query.bbx)} numbers; get another copy")
    return truth


def graded_table(truth: _Truth) -> pd.DataFrame:
    """The table `relevance`."""
    rows = [
        (number, image, grade)
        for number, query in enumerate(truth.gnd)
        for grade in GRADES
        for image in getattr(query, grade)
    ]
    return pd.DataFrame(rows, columns=["query", "image", "grade"])


def _as_images(found: pd.DataFrame) -> pd.DataFrame:
    return found.reset_index(drop=True).assign(image=range(len(found)), label=None)


def _as_queries(truth: _Truth, found: pd.DataFrame, file: Path) -> pd.DataFrame:
    """The table `queries`; boxes that reach beyond the edge of their image end there."""
    boxes = np.array([query.bbx for query in truth.gnd], np.float64).reshape(-1, 4)
    size = found[["width", "height", "width", "height"]].to_numpy(np.float64)
    boxes = np.clip(boxes, 0, size)
    empty = ~((boxes[:, 2:].round() > boxes[:, :2].round()).all(axis=1))
    if empty.any():
        raise DatasetError(f"{file}: the box of query {int(empty.argmax())} holds no pixel; get another copy")
    table = found.assign(query=range(len(found)), image=None)
    table[["x0", "y0", "x1", "y1"]] = boxes
    return table
