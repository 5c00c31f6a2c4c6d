"""Checks of the public files of a benchmark."""

import reprlib
from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path

from pydantic import ValidationError

from lrcr.datasets.sources import Benchmark
from lrcr.errors import DatasetError


def require_counts(name: str, benchmark: Benchmark, found: dict[str, int]) -> None:
    """Refuse an incomplete dataset.

    Args:
        name: of the dataset, for the error message.
        found: name of a count → its value; a missing one counts as 0.

    Raises:
        DatasetError: a count differs from that of the benchmark.
    """
    for what, expected in benchmark.counts.items():
        if found.get(what, 0) != expected:
            raise DatasetError(
                f"{name}: {found.get(what, 0)} {what}, but the benchmark has {expected}; download its files again"
            )


def require_distinct(values: Iterable[Hashable], where: Path | str) -> None:
    """Refuse a value that occurs more than once.

    Args:
        where: file (and entry) of the values, for the error message.

    Raises:
        DatasetError: naming the most frequent value.
    """
    value, count = max(Counter(values).items(), key=lambda item: item[1], default=(None, 0))
    if count > 1:
        raise DatasetError(f"{where}: contains {value!r} {count} times; download it again")


def require_ids(ids: Iterable[int], count: int, where: str) -> None:
    """Refuse image ids that are not in 0…count − 1.

    Raises:
        DatasetError: naming the first such id.
    """
    wrong = next((image for image in ids if not 0 <= image < count), None)
    if wrong is not None:
        raise DatasetError(f"{where}: contains the image id {wrong}, but there are {count} images; download it again")


def explain_record(error: ValidationError) -> str:
    """Describe the first problem that pydantic found in a public file, in one line."""
    problem = error.errors()[0]
    place = ".".join(map(str, problem["loc"])) or "the file"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{place} is {reprlib.repr(problem['input'])}: {message}; download it again"
