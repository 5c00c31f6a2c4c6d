"""The rows of the comparison on real photos: systems and re-ranked lists.

Every trained row sees `EPOCHS` times as many photos as there are training photos, with gradient: tuples of five photos,
pairs, or crops. Systems with two phases divide the epochs between them. All train the last two stages of the trunk, on
photos of 384 pixels; classification on crops of 224 pixels. The rows are trained for minutes, the publications trained
for days: attention that starts from random weights (DELF, DELG, FIRe) has had little time.
"""

from dataclasses import dataclass

from benchmarks.photos import test_data
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.config.rerank import (
    BlendParams,
    DiffusionParams,
    ExpansionParams,
    GeometricParams,
    RerankParams,
    SuperGlobalParams,
    WordsParams,
)

EPOCHS = 4
BASE = "HOW-ASMK as published"
BORDER_CROPPED = "HOW-ASMK, border cropped, no smoothing"
LRCR = "LRCR-ASMK"


@dataclass(frozen=True)
class Trunk:
    """A trunk, and the rows that are compared with it.

    Args:
        overrides: of the default params.
        left_out: rows that it does not have.
    """

    overrides: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reranking:
    """A row that ranks the first list of a row again.

    Args:
        first: the row.
        steps: settings of the step, among which one is chosen.
        by: the row whose index the step reads; None: the first one.
    """

    first: str
    steps: tuple[RerankParams, ...]
    by: str | None = None


_HALF = EPOCHS // 2
_RATES = "{backbone: 3.0e-5, context: 3.0e-4, whitening: 0.0}"
_COMMON = (
    *("train.image_size=384", "train.weight_decay=0.0", f"train.epochs={EPOCHS}", "train.validation.every=2"),
    "train.validation.extract={image_size: 384, scales: [1.0, 0.707, 0.5], max_descriptors: 400}",
    "train.validation.codebook={words: 1024, images: 200, max_descriptors: 400}",
    "extract={image_size: 384, scales: [1.414, 1.0, 0.707, 0.5, 0.354], max_descriptors: 600, compute: float32}",
    "codebook={words: 2048, images: 400, scales: [1.0]}",
    "whitening.images=300",
)
_TUPLES = (
    "train.tuples={queries_per_epoch: 106, negatives: 3, batch_size: 4, negative_pool: 200, warmup_steps: 10}",
    f"train.tuples.learning_rates={_RATES}",
    "train.tuples.lr_decay=0.8",
)
_CROPS = "batch_size: 16, crop_size: 224, min_crop_area: 0.3, warmup_epochs: 0"
_OWNED = "index.local_descriptors=float16"
_DELF = (
    "model.name=delf",
    f"train.classification={{{_CROPS}, epochs: {_HALF}, fine_epochs: {_HALF}, head: linear, learning_rate: 0.005}}",
    "whitening.shrinkage=0.0",
    *(f"{key}={{multiple_assignment: 3, tau: 0.25, idf: true}}" for key in ("train.validation.search", "search")),
)
SYSTEMS: dict[str, tuple[str, ...]] = {
    BASE: (*_TUPLES, "smoothing.kind=average", "backbone.crop_border=0", _OWNED),
    LRCR: (
        *("smoothing={kind: learnable, initial_bandwidth: 2.0}", "graph.kind=gcn", _OWNED),
        "train.tuples={queries_per_epoch: 265, negatives: 0, batch_size: 16, group_size: 4, negative_pool: 200}",
        "train.tuples.scales=[1.0, 0.707, 0.5]",
        "train.tuples.learning_rates={backbone: 3.0e-5, context: 5.0e-4, whitening: 0.0}",
        *("train.tuples.warmup_steps=10", "train.tuples.lr_decay=0.8"),
        "train.tuples.losses={contrastive: 0.0, asmk: 1.0, codebooks: 4, soft_words: 5}",
    ),
    BORDER_CROPPED: (*_TUPLES, _OWNED),
    "R-MAC": ("model.name=rmac", "train.epochs=0"),
    "GeM": ("model.name=gem", *_TUPLES, "train.tuples.margin=0.25"),
    "AP-GeM": (
        *("model.name=apgem", "train.listwise={batch_size: 106, chunk_size: 16, crop_size: 224, min_crop_area: 0.3}"),
        *("train.listwise.learning_rates={backbone: 1.0e-4, context: 1.0e-3}", "train.listwise.warmup_steps=4"),
        "train.listwise.lr_decay=0.8",
    ),
    "SOLAR": ("model.name=solar", *_TUPLES),
    "CFCD": (
        "model.name=cfcd",
        f"train.classification={{{_CROPS}, epochs: {_HALF}, fine_epochs: {_HALF}, fine_learning_rate: 5.0e-4}}",
    ),
    "DELG": (
        *("model.name=delg", "extract.global_scales=[1.414, 1.0, 0.707]", _OWNED),
        f"train.classification={{{_CROPS}, fine_epochs: 0, head: arcface, margin: 0.1, scale: 45.25}}",
        # The mean square of the trunk's map is 200 times that of a ResNet, for which DELG's weight is 10.
        *("train.classification.clip_norm=10.0", "train.classification.reconstruction=0.05"),
    ),
    "FIRe-ASMK": (
        *("model.name=fire", *_TUPLES, "train.tuples.mirror=true", f"train.epochs={_HALF}", _OWNED),
        f"train.pretrain={{{_CROPS}, epochs: {_HALF}}}",
    ),
    "DELF-ASMK": _DELF,
    "DELF-R-ASMK": (*_DELF, "extract.regions=grid"),
}
_GEOMETRIC = (GeometricParams(kind="geometric", min_similarity=0.5),)
"""The defaults: the exponent was chosen on the graded queries; by them min_similarity would be 0.3 or 0.7."""

RERANKED = {
    "HOW + geometric": Reranking(BASE, _GEOMETRIC),
    f"{BORDER_CROPPED}, + geometric": Reranking(BORDER_CROPPED, _GEOMETRIC),
    "LRCR + geometric": Reranking(LRCR, _GEOMETRIC),
    "LRCR + words of verified images": Reranking(LRCR, (WordsParams(kind="words"),)),
    "CFCD + SuperGlobal": Reranking("CFCD", (SuperGlobalParams(kind="superglobal"),)),
    "CFCD + query expansion": Reranking("CFCD", (ExpansionParams(kind="expansion"),)),
    "CFCD + diffusion": Reranking("CFCD", (DiffusionParams(kind="diffusion"),)),
    "CFCD → LRCR": Reranking(
        "CFCD", tuple(BlendParams(kind="blend", share=share) for share in (0.3, 0.5, 0.7, 0.9, 1.0)), by=LRCR
    ),
    "LRCR → CFCD": Reranking(
        LRCR, tuple(BlendParams(kind="blend", share=share) for share in (0.05, 0.1, 0.3, 0.5)), by="CFCD"
    ),
    "DELG + geometric": Reranking("DELG", _GEOMETRIC),
    "FIRe + geometric": Reranking("FIRe-ASMK", _GEOMETRIC),
}
TRUNKS = {
    "comparison_real": Trunk(("train.freeze=2", "whitening.dim=96")),
    "comparison_real_resnet18": Trunk(
        (
            *("backbone={name: resnet18, stride: null, skip_layers: 1}", "whitening.dim=128", "train.freeze=1"),
            "backbone.weights={data}/weights/resnet18-imagenet-to-layer3.npz",
            "extract.compute=bfloat16",
        ),
        left_out=("SOLAR", "DELG", "DELG + geometric"),
    ),
}
"""With ResNet-18 one stage is trained. SOLAR trains two, and DELG needs two maps, so this trunk has neither.

Its photos are described in bfloat16: twice as fast on processors that have it. EfficientNet-Lite0 gains little by that.
"""


def params_of(trunk: Trunk, row: str, seed: int) -> Params:
    """The params of a system."""
    own = [override.replace("{data}", str(test_data())) for override in (*_COMMON, *trunk.overrides)]
    return load_params(None, [*own, *SYSTEMS[row], f"seed={seed}", f"codebook.seed={seed}"])
