"""The AP of each query, read from a git revision, a DVC experiment or the working tree."""

from typing import Any

from lrcr.errors import ArtifactError

WORKSPACE = "workspace"
_FOLDER = "metrics/ap"  # where the stage evaluate writes <dataset>.csv


def read_revision(revision: str, dataset: str | None) -> tuple[str, bytes]:
    """Read `metrics/ap/<dataset>.csv` of a revision of the project around the working folder.

    Args:
        revision: a git revision, the name of an experiment, or "workspace".
        dataset: its name; None: the only one that is evaluated.

    Returns:
        The name of the file for error messages, and its contents.

    Raises:
        ArtifactError: there is no such revision, or not exactly one such file in it.
    """
    tree, names = _open_tree(revision)
    if not names:
        raise ArtifactError(f"{revision}: has no {_FOLDER}/*.csv; run `dvc repro` there, or name another")
    if dataset is None and len(names) > 1:
        raise ArtifactError(f"{revision}: evaluates {', '.join(names)}; choose one with --dataset-name")
    name = dataset or names[0]
    if name not in names:
        raise ArtifactError(f"--dataset-name {name}: not evaluated in {revision}; choose from {', '.join(names)}")
    path = f"{_FOLDER}/{name}.csv"
    return f"{revision}:{path}", tree.read_bytes(f"/{path}")


def _open_tree(revision: str) -> tuple[Any, list[str]]:
    """The project's files in a revision, and the names of the datasets evaluated there."""
    from dvc.api import DVCFileSystem  # takes a second to import

    try:
        tree = DVCFileSystem(rev=None if revision == WORKSPACE else revision)
        paths = tree.glob(f"/{_FOLDER}/*.csv")
    except Exception as error:  # DVC does not wrap the errors of the libraries that read git
        reason = " ".join(str(error).split())
        known = f"a .csv, a .parquet, a git revision, an experiment of `dvc exp show` or {WORKSPACE!r}"
        raise ArtifactError(f"{revision}: cannot be read ({reason}); name {known}") from None
    return tree, sorted(path.rpartition("/")[2].removesuffix(".csv") for path in paths)
