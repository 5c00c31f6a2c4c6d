"""Context on real photos: one frozen trunk with ImageNet weights, and context trained on its maps of labelled photos.

Training, validation and test photos show different identities (`benchmarks.identities`). All trained rows take the
same number of steps; the baselines have nothing to train. Needs `LRCR_TEST_DATA`: a folder with `photos/`,
`more-photos/` and `weights/`. What a killed run has finished is found again.
"""

from collections.abc import Iterator

from benchmarks.identities import split_identities
from benchmarks.photos import test_data
from benchmarks.rows import NONE, PLAIN, UNTRAINED, Changes, Rows
from benchmarks.tables import BASELINES, write_comparison, write_parts, write_training
from benchmarks.values import Value
from lrcr.config.reading import load_params

_SEEDS = (0, 1, 2)
_CODEBOOKS = 3
"""Of each seed; a score is their mean."""

_KERNELS = (3, 5, 7)
_WITHOUT_CONTEXT = ("smoothing.kind=none", "graph.kind=none")
_TRUNKS = {
    "context_real": ("backbone.weights={data}/weights/resnet18-imagenet-to-layer3.npz",),
    "context_real_lite0": (
        "backbone={name: timm/tf_efficientnet_lite0, stride: 16, skip_layers: null, weights: packaged}",
        "whitening.dim=96",
    ),
}
_NO_SMOOTHING, _AVERAGE = BASELINES
_FILTER = {"smoothing": {"kind": "learnable"}}
_GATE = {"graph": {"kind": "gcn", "neighbours": 1}}
_GCN = {"graph": {"kind": "gcn"}}
_BORDER = {"backbone": {"crop_border": 0}}
_PARTS: dict[str, Changes] = {"+ learnable filter": [_FILTER], "+ gate without graph": [_GATE], "+ GCN": [_GCN]}
_LONG = {"train": {"epochs": 32, "tuples": {"lr_decay": 0.964, "validation_pairs": 128}, "validation": {"every": 8}}}
"""Four times the steps, with the same learning rate at the end; the loss of validation photos is measured too."""


def run() -> Iterator[Value]:
    """Table, curve and log of training of both trunks; with the first one also long trainings, kernels and border."""
    rows = {name: _rows(name) for name in _TRUNKS}
    for name in _TRUNKS:
        yield from _compare(name, rows[name])
    first = next(iter(_TRUNKS))
    long = {row: [rows[first].run([*own, _LONG], 0, [PLAIN])] for row, own in _PARTS.items()}
    yield from write_training(f"{first}_long", long)
    parts = {**_kernels(), **{f"{row}, border kept": [*_kernels()[row], _BORDER] for row in list(_kernels())[:2]}}
    yield from write_parts(f"{first}_parts", {row: [rows[first].run(own, 0, [PLAIN])] for row, own in parts.items()})


def _rows(name: str) -> Rows:
    split = split_identities()
    overrides = [override.replace("{data}", str(test_data())) for override in _TRUNKS[name]]
    params = load_params(None, [*overrides, *_WITHOUT_CONTEXT], recipe="context")
    return Rows(params, split.train, split.validation, split.test, _CODEBOOKS)


def _compare(name: str, rows: Rows) -> Iterator[Value]:
    averages = {row: own for row, own in _kernels().items() if row.startswith(_AVERAGE)}
    recipe = load_params(None, recipe="context")
    half = {"train": {"epochs": recipe.train.epochs // 2, "tuples": {"schedule": "sequential"}}}
    changes: dict[str, Changes] = {
        _NO_SMOOTHING: [NONE, UNTRAINED],
        _AVERAGE: averages[rows.choose(averages)],
        **_PARTS,
        "+ both": [_FILTER, _GCN, half],
        "self-attention": [{"graph": {"kind": "attention"}}],
    }
    runs = {row: [rows.run(own, seed) for seed in _SEEDS] for row, own in changes.items()}
    yield from write_training(f"{name}_training", {row: own for row, own in runs.items() if row not in BASELINES})
    yield from write_comparison(name, runs)


def _kernels() -> dict[str, Changes]:
    averages = {
        f"{_AVERAGE}, kernel {k}": [{"smoothing": {"kind": "average", "kernel": k}}, UNTRAINED] for k in _KERNELS
    }
    filters = {f"filter, kernel {k}": [_FILTER, {"smoothing": {"kernel": k}}] for k in _KERNELS}
    return {f"{_NO_SMOOTHING} (kernel 1)": [NONE, UNTRAINED], **averages, **filters}
