"""Whether the public files of a benchmark hold what they must."""

import reprlib
from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path

from pydantic import ValidationError

from lrcr.datasets.sources import Benchmark
from lrcr.errors import DatasetError


def require_counts(name: str, benchmark: Benchmark, found: dict[str, int]) -> None:
    """Refuse a dataset that is not complete.

    Raises:
        DatasetError: a count differs from the benchmark's.
    """
    for what, expected in benchmark.counts.items():
        if found.get(what, 0) != expected:
            raise DatasetError(
                f"{name}: {found.get(what, 0)} {what}, but the benchmark has {expected}; "
                "get its files again from their publisher"
            )


def require_distinct(values: Iterable[Hashable], where: Path | str) -> None:
    """Refuse a value that stands twice.

    Raises:
        DatasetError: naming the value.
    """
    value, count = max(Counter(values).items(), key=lambda item: item[1], default=(None, 0))
    if count > 1:
        raise DatasetError(f"{where}: names {value!r} {count} times; get another copy")


def require_ids(ids: Iterable[int], count: int, where: str) -> None:
    """Refuse ids that do not exist.

    Raises:
        DatasetError: naming the first that is not in 0…count − 1.
    """
    wrong = next((image for image in ids if not 0 <= image < count), None)
    if wrong is not None:
        raise DatasetError(f"{where}: names image {wrong}, but there are {count}; get another copy")


def explain_record(error: ValidationError) -> str:
    """One line for the first problem that pydantic found in a public file."""
    problem = error.errors()[0]
    place = ".".join(map(str, problem["loc"])) or "the file"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{place} holds {reprlib.repr(problem['input'])}: {message}; get another copy"
