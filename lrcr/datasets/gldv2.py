"""Google Landmarks v2 (Weyand et al., CVPR 2020): the clean training set, and retrieval in the index set.

Split `train` has the images of `train_clean.csv`, labelled by landmark. In `public` and `private` the database is the
index set and the queries are the test images of `retrieval_solution_v2.1.csv` with that usage; relevant images are
graded easy, and mAP@100 is measured in addition to the other metrics. Images that cannot be decoded are excluded and
listed in the facts of `dataset.json`; if one is a query or relevant to a query, the dataset is refused.
"""

from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import csv

from lrcr.config.datasets import GoogleParams
from lrcr.data.dataset import write_dataset
from lrcr.datasets.contents import FoundImages, find_images
from lrcr.datasets.fetch import Store
from lrcr.datasets.sources import BENCHMARKS, Benchmark
from lrcr.datasets.verify import require_counts, require_distinct
from lrcr.errors import DatasetError
from lrcr.progress import SILENT, Progress

Tables = dict[str, pd.DataFrame]


def make_gldv2(folder: Path, name: str, params: GoogleParams, store: Store, *, progress: Progress = SILENT) -> None:
    """Write the tables of one split into the existing, empty `folder`.

    Raises:
        DownloadError: a file cannot be downloaded or differs from its checksum.
        DatasetError: the files are damaged, incomplete or inconsistent.
    """
    split = f"{params.kind}/{params.split}"
    benchmark = BENCHMARKS[split]
    make_tables = _training_tables if params.split == "train" else _retrieval_tables
    tables, found = make_tables(split, benchmark, store, progress)
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
        facts={"source": benchmark.title, "refused": found.refused},
    )
    found.remove_state()


def _training_tables(split: str, benchmark: Benchmark, store: Store, progress: Progress) -> tuple[Tables, FoundImages]:
    file = store.fetch(benchmark.annotations["labels"], progress).path
    labels = read_labels(file)
    require_counts(split, benchmark, {"images": len(labels), "labels": len(set(labels.values()))})
    found = _find(benchmark, store, labels, progress)
    keys = [key for key in labels if key not in found.refused_keys]
    images = found.rows(keys, file).assign(image=range(len(keys)), label=[labels[key] for key in keys])
    return {"images": images}, found


def _retrieval_tables(split: str, benchmark: Benchmark, store: Store, progress: Progress) -> tuple[Tables, FoundImages]:
    index_file = store.fetch(benchmark.annotations["index"], progress).path
    solution_file = store.fetch(benchmark.annotations["solution"], progress).path
    index = _read_table(index_file, ["id"])["id"].tolist()
    require_distinct(index, index_file)
    solution = read_solution(solution_file, split.rpartition("/")[2])
    require_counts(split, benchmark, {"images": len(index), "queries": len(solution)})
    found = _find(benchmark, store, {*index, *solution}, progress)
    kept = [key for key in index if key not in found.refused_keys]
    images = found.rows(kept, index_file).assign(image=range(len(kept)), label=None)
    queries = found.rows(list(solution), solution_file)
    queries = queries.assign(query=range(len(queries)), image=None, x0=None, y0=None, x1=None, y1=None)
    relevance = _relevance_table(solution, {key: image for image, key in enumerate(kept)}, solution_file)
    return {"images": images, "queries": queries, "relevance": relevance}, found


def _find(benchmark: Benchmark, store: Store, wanted: Collection[str], progress: Progress) -> FoundImages:
    archives = [store.fetch_archive(archive, progress) for archive in benchmark.archives]
    return find_images(archives, store.folder, wanted, progress)


def read_labels(file: Path) -> dict[str, str]:
    """Read `train_clean.csv` (`landmark_id,images`): image → landmark.

    Raises:
        DatasetError: it does not have this form, or contains an image twice.
    """
    table = _read_table(file, ["landmark_id", "images"])
    pairs = [
        (image, landmark) for landmark, images in table.itertuples(index=False, name=None) for image in images.split()
    ]
    require_distinct((image for image, _ in pairs), file)
    return dict(pairs)


def read_solution(file: Path, usage: str) -> dict[str, list[str]]:
    """Read `retrieval_solution_v2.1.csv` (`id,images,Usage`): query → relevant images, of one usage (lower case).

    Raises:
        DatasetError: it does not have this form, or contains a query twice, or an image twice for a query.
    """
    table = _read_table(file, ["id", "images", "Usage"])
    table = table[table["Usage"].str.lower() == usage]
    require_distinct(table["id"], file)
    solution = {query: images.split() for query, images in zip(table["id"], table["images"], strict=True)}
    for query, images in solution.items():
        require_distinct(images, f"{file}: query {query!r}")
    return solution


def _relevance_table(solution: dict[str, list[str]], ids: dict[str, int], file: Path) -> pd.DataFrame:
    unknown = [image for images in solution.values() for image in images if image not in ids]
    if unknown:
        raise DatasetError(
            f"{file}: names {unknown[0]!r}, which is not in the index or cannot be decoded ({len(unknown)} such images "
            "in all); download the files again"
        )
    rows = [(query, ids[image], "easy") for query, images in enumerate(solution.values()) for image in images]
    return pd.DataFrame(rows, columns=["query", "image", "grade"])


def _read_table(file: Path, columns: list[str]) -> pd.DataFrame:
    """The columns of a CSV file, as text."""
    wanted = csv.ConvertOptions(
        include_columns=columns, column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
    )
    try:
        table: pd.DataFrame = csv.read_csv(file, convert_options=wanted).to_pandas()
    except (pa.ArrowException, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DatasetError(
            f"{file}: not a CSV file with the columns {', '.join(columns)} ({reason}); download it again"
        ) from None
    return table
