"""Measured values, their targets, and the file of each benchmark's results."""

import os
import platform
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from lrcr.storage.artifacts import write_json

RESULTS = Path(__file__).parent / "results"
PICTURES = Path(__file__).parents[1] / "docs" / "images"


@dataclass(frozen=True)
class Value:
    """One measured number.

    Args:
        name: what was measured, with its unit.
        value: in that unit.
        at_least, at_most: the target, if there is one.
    """

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the value meets its target; always true without a target."""
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    def __str__(self) -> str:
        target = " ".join(
            f"{sign} {limit:g}" for sign, limit in (("≥", self.at_least), ("≤", self.at_most)) if limit is not None
        )
        verdict = ("ok" if self.reached else "missed") if target else ""
        return "  ".join(part for part in (self.name, f"{self.value:.4g}", target, verdict) if part)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Args:
        name: one word.
        about: one line.
        run: yields each value as soon as it is measured.
    """

    name: str
    about: str
    run: Callable[[], Iterable[Value]]


def run(benchmark: Benchmark) -> bool:
    """Run a benchmark, print each value when it is measured, and store all of them with a description of the machine.

    Returns:
        Whether all targets are reached.
    """
    values: list[Value] = []
    for value in benchmark.run():
        print(value, flush=True)
        values.append(value)
    record = {"benchmark": benchmark.name, "about": benchmark.about, "date": f"{date.today()}", "machine": machine()}
    write_json(RESULTS / f"{benchmark.name}.json", {**record, "values": [_row(value) for value in values]})
    return all(value.reached for value in values)


def machine() -> dict[str, str]:
    """The machine on which the values were measured."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return {
        "cpu": f"{len(os.sched_getaffinity(0))} cores of {cpu[1] if cpu else platform.processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "python": platform.python_version(),
    }


def _row(value: Value) -> dict[str, Any]:
    return {key: entry for key, entry in asdict(value).items() if entry is not None}
