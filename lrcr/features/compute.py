"""Which arithmetic the backbone computes in: float32, or half-width where the processor computes that much faster."""

import os
import re
import time
from pathlib import Path
from typing import Any, Literal

import torch

from lrcr.config.base import Compute
from lrcr.models.backbone import Backbone
from lrcr.storage.artifacts import fingerprint, read_json, write_json
from lrcr.storage.state import state_root

Chosen = Literal["float32", "float16", "bfloat16"]

FAST_HALVES = {"amx_bf16", "avx512_bf16", "bf16"}
"""Flags of processors with instructions for bfloat16."""

_WORTH = 1.25  # speed relative to float32 from which `auto` takes bfloat16
_IMAGES, _ROUNDS = (2, 3, 256, 384), 5


def choose_compute(name: Compute, backbone: Backbone, device: torch.device) -> Chosen:
    """Set the arithmetic of passes without gradient of a backbone.

    With `auto`, a GPU computes in mixed precision (float16), and a CPU in bfloat16 if it has instructions for it and a
    measurement shows that this backbone is at least 1.25 times as fast with them. The result is kept in the folder
    `$LRCR_STATE/compute`, so that all commands on one machine choose alike.

    Args:
        name: float32, bfloat16, float16 (on a CPU float32 instead) or auto.
        backbone: in evaluation mode, on `device`; `Backbone.compute` is set.

    Returns:
        The arithmetic.
    """
    if device.type == "cuda":
        chosen: Chosen = "float16" if name == "auto" else name
    else:
        chosen = _measured(backbone) if name == "auto" else "float32" if name == "float16" else name
    backbone.compute = getattr(torch, chosen)
    return chosen


def _measured(backbone: Backbone) -> Chosen:
    """The arithmetic for this processor: as measured before, or measured now."""
    if not FAST_HALVES & processor_flags():
        return "float32"
    key = fingerprint(_processor(), torch.__version__, backbone.name, backbone.channels, backbone.stride)
    file = state_root() / "compute" / f"{key}.json"
    if not file.exists():
        _publish(file, {"backbone": backbone.name, "bfloat16_speed": round(_speed(backbone), 2)})
    return "bfloat16" if read_json(file)["bfloat16_speed"] >= _WORTH else "float32"


def _publish(file: Path, measured: dict[str, Any]) -> None:
    """Write the file unless another process has written it first."""
    own = file.with_name(f"{os.getpid()}-{file.name}")
    write_json(own, measured)
    try:
        os.link(own, file)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links: the last one wins
        own.replace(file)
    own.unlink(missing_ok=True)


@torch.inference_mode()
def _speed(backbone: Backbone) -> float:
    """The speed of bfloat16 relative to float32: best times of a few images, measured in turns."""
    images = torch.rand(_IMAGES, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    for _ in range(_ROUNDS):
        for kind in best:
            backbone.compute = kind
            start = time.perf_counter()
            backbone(images)
            best[kind] = min(best[kind], time.perf_counter() - start)
    return best[torch.float32] / best[torch.bfloat16]


def processor_flags() -> set[str]:
    """The flags of the processor; none where the system does not tell them."""
    found = re.search(r"^(?:flags|Features)\s*: (.*)$", _processor_facts(), re.MULTILINE)
    return set(found[1].split()) if found else set()


def _processor() -> str:
    """The name of the processor."""
    found = re.search(r"^model name\s*: (.*)$", _processor_facts(), re.MULTILINE)
    return found[1] if found else os.uname().machine


def _processor_facts() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
