"""The share of an array job: each of its tasks makes some of the shards of a step, in a folder that all of them share.

`LRCR_SHARD=i/n` makes share i of n, from 0; without it, the variables that Slurm sets in an array job. Task i makes the
shards whose number leaves the remainder i when divided by n, whatever the others have made. No task goes on to what
needs all shards: a run without a share does, and makes what is missing.
"""

import os
import re
from collections.abc import Sequence

from lrcr.errors import ParamsError, ShareMade
from lrcr.progress import Progress
from lrcr.runtime.jobs import Job, Make
from lrcr.runtime.processes import ThisMachine

_SLURM = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT")


class Share:
    """Runs every `count`-th job on this machine, from job `index` on.

    Args:
        index: of the share, from 0.
        count: of all shares.
    """

    def __init__(self, index: int, count: int) -> None:
        self.index = index
        self.count = count

    def map(self, make: Make, jobs: Sequence[Job], progress: Progress) -> None:
        """See `Executor`; always raises `ShareMade`."""
        own = [job for job in jobs if job.number % self.count == self.index]
        ThisMachine().map(make, own, progress)
        raise ShareMade(
            f"share {self.index}/{self.count}: made {len(own)} of the {len(jobs)} shards that were missing; when all "
            "shares are made, run the same command without LRCR_SHARD"
        )


def own_share() -> tuple[int, int] | None:
    """The share of this process, as its index and the number of shares; None: all of the work.

    Raises:
        ParamsError: the environment names a share that does not exist.
    """
    if given := os.environ.get("LRCR_SHARD"):
        if not re.fullmatch(r"\d+/\d+", given, re.ASCII):
            raise ParamsError(f"LRCR_SHARD: {given!r} is not i/n, as 0/8; give one of n shares, from 0")
        index, count = map(int, given.split("/"))
        return _check(index, count, f"LRCR_SHARD: {given!r}")
    values = {name: os.environ[name] for name in _SLURM if os.environ.get(name)}
    if not values:
        return None
    for name in _SLURM:
        if not values.get(name, "").isdecimal():
            without = f"is not set, but {next(iter(values))} is"
            found = f"{values[name]!r} is not a number" if name in values else without
            raise ParamsError(f"{name}: {found}; set LRCR_SHARD to i/n, or 0/1 for all of the work")
    task, first, count = (int(values[name]) for name in _SLURM)
    return _check(task - first, count, f"SLURM_ARRAY_TASK_ID: {task} with _MIN {first} and _COUNT {count}")


def _check(index: int, count: int, where: str) -> tuple[int, int] | None:
    if not 0 <= index < count:
        raise ParamsError(f"{where}: there is no share {index} of {count}; number the tasks 0…n − 1, without gaps")
    return None if count == 1 else (index, count)


def refuse_share(what: str) -> None:
    """Refuse to make a share of what is not made of shards.

    Raises:
        ParamsError: this process makes a share.
    """
    if own_share() is not None:
        raise ParamsError(f"LRCR_SHARD: {what} cannot be made in shares; set LRCR_SHARD to 0/1 to make it whole")
