"""The shapes of arches and the outlines of arched openings."""

import numpy as np

from lrcr.datasets.synthetic.canvas import Point


def rise(arch: str, t: float) -> float:
    """Height of an arch above its springing line, in half widths, at `t` in [−1, 1] across the opening."""
    side = abs(t)
    if arch in ("round", "horseshoe"):
        return float(np.sqrt(1 - t * t))
    if arch == "pointed":
        return float(np.sqrt(4 - (1 + side) ** 2))
    if arch == "segmental":
        return 0.4 * (1 - t * t)
    if arch == "trefoil":
        return (
            0.9 + 0.6 * float(np.sqrt(1 - (side / 0.5) ** 2))
            if side < 0.5
            else float(np.sqrt(1 - ((side - 0.5) / 0.5) ** 2)) * 0.9
        )
    if arch == "ogee":
        return float(np.sqrt(1 - t * t)) * 0.85 + 0.75 * max(0.0, 1 - side / 0.35) ** 2
    return 0.0


def outline(arch: str, x: float, y: float, width: float, height: float) -> list[Point]:
    """The polygon of an opening centred on `x` with its foot at `y` (metres)."""
    half = width / 2
    if arch == "circle":
        turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        radius = min(half, height / 2)
        return [(x + radius * float(np.cos(a)), y + height / 2 + radius * float(np.sin(a))) for a in turn]
    top = max(rise(arch, float(t)) for t in np.linspace(-1, 1, 9))
    lift = min(1.0, 0.6 * height / max(top * half, 1e-6))
    spring = y + height - top * half * lift
    across = np.array([-1.0, 1.0]) if arch == "flat" else np.cos(np.linspace(np.pi, 0, 15))
    arc = [(x + half * float(t), spring + half * lift * rise(arch, float(t))) for t in across]
    foot = half * (0.78 if arch == "horseshoe" else 1.0)
    neck = [(x - foot, spring), (x + foot, spring)] if arch == "horseshoe" else []
    return [(x - foot, y), *neck[:1], *arc, *neck[1:], (x + foot, y)]
