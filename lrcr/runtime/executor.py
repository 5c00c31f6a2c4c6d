"""The shards of a step: files of equal numbers of items, made by one of several executors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrcr.progress import Progress
from lrcr.runtime.cluster import Cluster
from lrcr.runtime.device import resolve_device
from lrcr.runtime.jobs import Executor, Job, Make
from lrcr.runtime.processes import ThisMachine
from lrcr.runtime.shares import Share, own_share, refuse_share

_THIS_MACHINE = ThisMachine()


def choose_executor(name: str = "local", device: str = "cpu") -> Executor:
    """What runs the jobs of a step.

    Args:
        name: the param `executor`. local: this machine, or of an array job its share of the jobs; ray: a cluster.
        device: the param `device`, if the jobs compute on it.

    Raises:
        ParamsError: the environment names a share that does not exist, or a share of a cluster; or device is cuda and
            there is no GPU.
    """
    share = own_share()
    if name == "ray":
        refuse_share("what executor ray makes")
        return Cluster(gpu=resolve_device(device).type == "cuda")
    return ThisMachine() if share is None else Share(*share)


def make_shards(
    make: Make,
    items: Sequence[Any],
    size: int,
    folder: Path,
    suffix: str,
    progress: Progress,
    description: str,
    executor: Executor = _THIS_MACHINE,
) -> list[Path]:
    """Write the files `shard-<number><suffix>` of a folder, except those that exist already.

    Args:
        items: what `make` takes, such as photos; can be pickled.
        size: items of a shard; the last shard may have fewer.
        suffix: end of the file names.
        executor: makes what is missing.

    Returns:
        All files, in order.

    Raises:
        LrcrError, ShareMade: see `Executor.map`.
    """
    starts = range(0, len(items), size)
    files = [folder / f"shard-{number:05}{suffix}" for number in range(len(starts))]
    shards = [Job(items[start : start + size], files[number], number) for number, start in enumerate(starts)]
    with progress.task(description, len(items)) as task:
        missing = [shard for shard in shards if not shard.file.exists()]
        task.advance(len(items) - sum(len(shard.items) for shard in missing))
        executor.map(make, missing, task)
    return files
