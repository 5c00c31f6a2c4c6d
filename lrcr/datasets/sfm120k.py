"""retrieval-SfM-120k: training and validation images of landmarks, clustered by structure from motion.

Splits `train` and `val` (Radenović, Tolias, Chum, TPAMI 2019) contain pairs of a query and a positive; the label of an
image is its cluster. `val_eccv20` (Tolias, Jenicek, Chum, ECCV 2020) contains queries with their relevant images, on
which HOW selects the best epoch; relevant images are graded easy, the query itself is junk.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from lrcr.config.datasets import SfmParams
from lrcr.data.dataset import write_dataset
from lrcr.datasets.contents import FoundImages, find_images, image_key
from lrcr.datasets.fetch import Store
from lrcr.datasets.pickles import read_pickle
from lrcr.datasets.sources import BENCHMARKS
from lrcr.datasets.verify import explain_record, require_counts, require_distinct, require_ids
from lrcr.errors import DatasetError
from lrcr.progress import SILENT, Progress


class _Pairs(BaseModel):
    """One split of the public file `retrieval-SfM-120k.pkl`; ids are positions in `cids`."""

    model_config = ConfigDict(strict=True)
    cids: list[str]
    cluster: list[int]
    qidxs: list[int]
    pidxs: list[int]


class _Relevant(BaseModel):
    """The relevant images of a query."""

    model_config = ConfigDict(strict=True)
    ok: list[int]
    junk: list[int] = []


class _Validation(BaseModel):
    """The public file `retrieval-SfM-120k-val-eccv2020.pkl`; ids are positions in `cids`."""

    model_config = ConfigDict(strict=True)
    cids: list[str]
    qidx: list[int]
    gnd: list[_Relevant]


def make_sfm120k(folder: Path, name: str, params: SfmParams, store: Store, *, progress: Progress = SILENT) -> None:
    """Write the tables of one split into the existing, empty `folder`.

    Raises:
        DownloadError: a file cannot be downloaded or differs from its checksum.
        DatasetError: the files are damaged, incomplete or inconsistent.
    """
    split = f"{params.kind}/{params.split}"
    benchmark = BENCHMARKS[split]
    ((role, source),) = benchmark.annotations.items()
    file = store.fetch(source, progress).path
    truth = read_pairs(file, params.split) if role == "pairs" else read_validation(file)
    archives = [store.fetch_archive(archive, progress) for archive in benchmark.archives]
    keys = [image_key(image) for image in truth.cids]
    found = find_images(archives, store.folder, keys, progress)
    tables = _pair_tables(truth, found, file) if isinstance(truth, _Pairs) else _query_tables(truth, found, file)
    images = tables["images"]
    require_counts(split, benchmark, {"images": len(images), "labels": images["label"].nunique()})
    write_dataset(
        folder,
        name=name,
        kind=params.kind,
        params={"split": params.split},
        root=store.folder,
        orient=False,
        contents=found.sha256,
        licence=benchmark.licence,
        tables=tables,
        facts={"source": benchmark.title},
    )
    found.remove_state()


def read_pairs(file: Path, split: str) -> _Pairs:
    """Read and check one split of the public file of pairs.

    Raises:
        DatasetError: it does not have this form, or is inconsistent.
    """
    stored: Any = read_pickle(file)
    if not isinstance(stored, dict) or split not in stored:
        raise DatasetError(f"{file}: has no split {split!r}; download it again")
    try:
        pairs = _Pairs.model_validate(stored[split])
    except ValidationError as error:
        raise DatasetError(f"{file}: {split}.{explain_record(error)}") from None
    for what, count, other, other_count in (
        ("images", len(pairs.cids), "clusters", len(pairs.cluster)),
        ("queries", len(pairs.qidxs), "positives", len(pairs.pidxs)),
    ):
        if count != other_count:
            raise DatasetError(f"{file}: {split} has {count} {what}, but {other_count} {other}; download it again")
    require_distinct(map(image_key, pairs.cids), file)
    require_ids([*pairs.qidxs, *pairs.pidxs], len(pairs.cids), f"{file}: {split}")
    return pairs


def read_validation(file: Path) -> _Validation:
    """Read and check the public file of validation queries.

    Raises:
        DatasetError: it does not have this form, or is inconsistent.
    """
    try:
        truth = _Validation.model_validate(read_pickle(file))
    except ValidationError as error:
        raise DatasetError(f"{file}: {explain_record(error)}") from None
    if len(truth.qidx) != len(truth.gnd):
        raise DatasetError(f"{file}: {len(truth.qidx)} queries, but grades for {len(truth.gnd)}; download it again")
    require_distinct(map(image_key, truth.cids), file)
    require_ids(truth.qidx, len(truth.cids), f"{file}: qidx")
    for number, relevant in enumerate(truth.gnd):
        require_ids([*relevant.ok, *relevant.junk], len(truth.cids), f"{file}: query {number}")
    return truth


def _pair_tables(truth: _Pairs, found: FoundImages, file: Path) -> dict[str, pd.DataFrame]:
    images = found.rows([image_key(image) for image in truth.cids], file)
    labels = [str(cluster) for cluster in truth.cluster]
    pairs = pd.DataFrame({"query": truth.qidxs, "positive": truth.pidxs}, dtype="int64")
    return {"images": images.assign(image=range(len(images)), label=labels), "pairs": pairs}


def _query_tables(truth: _Validation, found: FoundImages, file: Path) -> dict[str, pd.DataFrame]:
    images = found.rows([image_key(image) for image in truth.cids], file)
    queries = images.iloc[truth.qidx].reset_index(drop=True)
    queries = queries.assign(query=range(len(queries)), image=truth.qidx, x0=None, y0=None, x1=None, y1=None)
    rows = []
    for number, (query_image, relevant) in enumerate(zip(truth.qidx, truth.gnd, strict=True)):
        grades = {**dict.fromkeys(relevant.ok, "easy"), **dict.fromkeys(relevant.junk, "junk"), query_image: "junk"}
        rows += [(number, image, grade) for image, grade in grades.items()]
    return {
        "images": images.assign(image=range(len(images)), label=None),
        "queries": queries,
        "relevance": pd.DataFrame(rows, columns=["query", "image", "grade"]),
    }
