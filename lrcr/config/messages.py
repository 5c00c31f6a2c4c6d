"""One line for each value of the params that is refused: place, value, remedy."""

import difflib
from collections.abc import Sequence
from typing import Any

from lrcr.config.base import Section, subsections
from lrcr.config.datasets import DATASET_KINDS
from lrcr.config.params import Params
from lrcr.config.rerank import RERANK_KINDS

_ADAM = "train.tuples.{0} and train.listwise.{0}"
RENAMED = {
    "backbone.border": "backbone.crop_border",
    "smoothing.embedding": "smoothing.embedding_dim",
    "smoothing.bandwidth": "smoothing.initial_bandwidth",
    "smoothing.penalty": "smoothing.bandwidth_penalty",
    "whitening.descriptors": "whitening.max_descriptors",
    "train.queries": "train.tuples.queries_per_epoch",
    "train.pool": "train.tuples.negative_pool",
    "train.negatives": "train.tuples.negatives",
    "train.batch": "train.tuples.batch_size",
    "train.scales": "train.tuples.scales",
    "train.margin": "train.tuples.margin",
    "train.rates": _ADAM.format("learning_rates"),
    "train.warmup": _ADAM.format("warmup_steps"),
    "train.decay": _ADAM.format("lr_decay"),
    "train.merge": "train.tuples.schedule",
    "train.together": "train.tuples.schedule",
    "train.losses": "train.tuples.losses",
    "train.solar": "train.tuples.solar",
    "train.validation.words": "train.validation.codebook.words",
    "train.labels": "train.listwise and train.classification",
    "train.apgem": "train.listwise",
    "train.cfcd": "train.classification",
    "extract.descriptors": "extract.max_descriptors",
    "extract.precision": "extract.dtype",
    "extract.shard": "extract.shard_size",
    "extract.keep": "extract.store_descriptors",
    "codebook.descriptors": "codebook.max_descriptors",
    "index.assignment": "index.multiple_assignment",
    "index.packed": "index.pack_ids",
    "index.memory": "index.memory_gib",
    "index.precision": "index.dtype",
    "search.assignment": "search.multiple_assignment",
}
"""Keys of earlier versions, and what they are called now."""


KINDS = {"datasets": ("dataset", DATASET_KINDS), "rerank": ("step", RERANK_KINDS)}
"""Sections of items of several kinds: what an item is called, and the section of each kind."""


def explain(where: str, problem: dict[str, Any]) -> str:
    """One line for one problem that pydantic found in params read from `where`."""
    path = [str(part) for part in problem["loc"]]
    known = _known_keys(path if problem["type"] in ("model_type", "value_error") else path[:-1])
    if path[:1] and path[0] in KINDS:
        del path[2:3]  # pydantic adds the kind, or [key], after the name or the number of an item
    key = ".".join(path)
    message = problem["msg"].removeprefix("Value error, ")
    if not path or (problem["type"] == "value_error" and known):
        return f"{where}: {'.'.join([*path, message])}"  # a section's own message starts with the key at fault
    if problem["type"] == "extra_forbidden":
        return f"{where}: {key}: unknown key; {_other_key(key, known)}"
    if problem["type"] == "missing":
        return f"{where}: {key}: missing; add it"
    if problem["type"].startswith("union_tag"):
        item, kinds = KINDS[path[0]]
        return f"{where}: {key}.kind: {problem['input'].get('kind')!r} is not a kind of {item}; use {', '.join(kinds)}"
    if problem["type"] == "model_type":
        return f"{where}: {key}: {problem['input']!r} is refused: must be a section of these keys: {', '.join(known)}"
    return f"{where}: {key}: {problem['input']!r} is refused: {message[0].lower()}{message[1:]}"


def _other_key(key: str, known: list[str]) -> str:
    """What to write in place of an unknown key."""
    if key in RENAMED:
        return f"it is now {RENAMED[key]}"
    near = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"


def _known_keys(path: Sequence[str]) -> list[str]:
    """The keys of the section at a path of pydantic's; none if there is no such section."""
    if path[:1] and path[0] in KINDS:
        return list(KINDS[path[0]][1][path[2]].model_fields) if len(path) == 3 else []
    section: type[Section] | None = Params
    for key in path:
        section = subsections(section).get(key) if section else None
    return list(section.model_fields) if section else []
