"""The AP of each query as a git revision, a DVC experiment or the working tree holds it."""

from typing import Any

from lrcr.errors import ArtifactError

WORKSPACE = "workspace"
_FOLDER = "metrics/ap"  # where the stage evaluate writes <dataset>.csv


def read_revision(revision: str, dataset: str | None) -> tuple[str, bytes]:
    """Read `metrics/ap/<dataset>.csv` of a revision of the project around the working folder.

    Args:
        revision: what git resolves, the name of an experiment, or "workspace".
        dataset: its name; None takes the only one that is evaluated.

    Returns:
        What error messages call the file, and its contents.

    Raises:
        ArtifactError: there is no such revision, or not exactly one such file in it.
    """
    tree, names = _open_tree(revision)
    if not names:
        raise ArtifactError(f"{revision}: holds no {_FOLDER}/*.csv; evaluate there with `dvc repro`, or name another")
    if dataset is None and len(names) > 1:
        raise ArtifactError(f"{revision}: evaluates {', '.join(names)}; choose one with --dataset-name")
    name = dataset or names[0]
    if name not in names:
        raise ArtifactError(f"--dataset-name {name}: not evaluated in {revision}; choose from {', '.join(names)}")
    path = f"{_FOLDER}/{name}.csv"
    return f"{revision}:{path}", tree.read_bytes(f"/{path}")


def _open_tree(revision: str) -> tuple[Any, list[str]]:
    """The project's files in a revision, and the names of the datasets evaluated there."""
    from dvc.api import DVCFileSystem  # takes a second, which only this needs

    try:
        tree = DVCFileSystem(rev=None if revision == WORKSPACE else revision)
        paths = tree.glob(f"/{_FOLDER}/*.csv")
    except Exception as error:  # DVC passes on all kinds of errors of the libraries that read git
        reason = " ".join(str(error).split())
        known = f"a .csv, a .parquet, a git revision, an experiment of `dvc exp show` or {WORKSPACE!r}"
        raise ArtifactError(f"{revision}: cannot be read ({reason}); name {known}") from None
    return tree, sorted(path.rpartition("/")[2].removesuffix(".csv") for path in paths)
