"""The volumes of a building: boxes, without their decoration."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lrcr.datasets.synthetic.style import Style


@dataclass(frozen=True)
class Mass:
    """One box of a building, in metres; z increases towards the street.

    Args:
        x: centre of its front.
        front: z of its front.
        bays, storeys: of its façade.
        role: body, tower, wing or porch.
        top: shape of the top of its front wall (`tops.draw_top`).
        crown: its crown (`crowns.draw_crown`), "" for none.
        passages: number of open archways at ground level.
    """

    x: float
    front: float
    width: float
    height: float
    depth: float
    bays: int
    storeys: int
    role: str
    top: str
    crown: str = ""
    passages: int = 0


def sample_masses(style: Style, rng: np.random.Generator) -> list[Mass]:
    """Sample the volumes of one building of the style."""
    return _MASSINGS[str(rng.choice(style.massings))](style, rng)


def _body(
    style: Style, rng: np.random.Generator, bays: tuple[int, int], storeys: tuple[int, int], **changes: object
) -> Mass:
    count, levels = int(rng.integers(bays[0], bays[1] + 1)), int(rng.integers(storeys[0], storeys[1] + 1))
    width, height = count * float(rng.uniform(2.6, 3.8)), levels * float(rng.uniform(3.6, 5.2)) + 1.0
    depth = width * float(rng.uniform(0.6, 1.1))
    mass = Mass(0.0, 0.0, width, height, depth, count, levels, "body", str(rng.choice(style.tops)))
    return Mass(**{**mass.__dict__, **changes})


def _tower(style: Style, rng: np.random.Generator, x: float, front: float, width: float, height: float) -> Mass:
    storeys = max(2, round(height / float(rng.uniform(4.0, 6.5))))
    top = "crenels" if rng.random() < 0.2 else "balustrade" if rng.random() < 0.3 else "low"
    bays = 1 if width < 5.5 else int(rng.integers(1, 4))
    return Mass(x, front, width, height, width, bays, storeys, "tower", top, str(rng.choice(style.crowns)))


def _block(style: Style, rng: np.random.Generator) -> list[Mass]:
    masses = [_body(style, rng, (3, 9), (2, 4))]
    return masses + _maybe_porch(masses[0], rng, 0.45)


def _basilica(style: Style, rng: np.random.Generator) -> list[Mass]:
    nave = _body(style, rng, (1, 3), (2, 3), top=str(rng.choice(["gable", "scrolls", "pediment", "pinnacles"])))
    aisle = nave.width * float(rng.uniform(0.45, 0.8))
    height = nave.height * float(rng.uniform(0.5, 0.7))
    bays = int(rng.integers(1, 3))
    wings = [
        Mass(
            side * (nave.width + aisle) / 2,
            -1.2,
            aisle,
            height,
            nave.depth,
            bays,
            1,
            "wing",
            str(rng.choice(["low", "balustrade", "crenels"])),
        )
        for side in (-1, 1)
    ]
    return [*wings, nave]


def _twin(style: Style, rng: np.random.Generator) -> list[Mass]:
    body = _body(style, rng, (1, 5), (2, 3))
    width, height = float(rng.uniform(4.0, 6.5)), body.height * float(rng.uniform(1.15, 1.8))
    left = _tower(style, rng, -(body.width + width) / 2, 0.9, width, height)
    shorter = float(rng.uniform(0.7, 0.9)) if rng.random() < 0.25 else 1.0
    right = Mass(**{**left.__dict__, "x": -left.x, "height": height * shorter})
    return [body, left, right]


def _campanile(style: Style, rng: np.random.Generator) -> list[Mass]:
    body = _body(style, rng, (3, 7), (2, 3))
    width, side = float(rng.uniform(4.0, 6.0)), float(rng.choice([-1, 1]))
    place = side * body.width * float(rng.choice([0.62, 0.3])) + side * width * 0.5
    tower = _tower(
        style, rng, place, float(rng.choice([-2.0, 1.0, 2.5])), width, body.height * float(rng.uniform(1.6, 2.4))
    )
    return [body, tower, *_maybe_porch(body, rng, 0.3)]


def _centre(style: Style, rng: np.random.Generator) -> list[Mass]:
    body = _body(style, rng, (5, 9), (2, 3))
    width = body.width * float(rng.uniform(0.22, 0.4))
    tower = _tower(
        style, rng, 0.0, float(rng.choice([-4.0, 1.2, 2.0])), width, body.height * float(rng.uniform(1.25, 1.8))
    )
    return [body, tower]


def _wings(style: Style, rng: np.random.Generator) -> list[Mass]:
    centre = _body(style, rng, (3, 5), (2, 4))
    width, height = centre.width * float(rng.uniform(0.6, 1.1)), centre.height * float(rng.uniform(0.6, 0.85))
    top, back = str(rng.choice(style.tops)), float(rng.choice([-3.0, 2.0]))
    bays, storeys = max(2, round(width / 3.2)), max(1, centre.storeys - 1)
    sides = [
        Mass(side * (centre.width + width) / 2, back, width, height, centre.depth, bays, storeys, "wing", top)
        for side in (-1, 1)
    ]
    crown = str(rng.choice(style.crowns)) if rng.random() < 0.4 else ""
    return [*sides, Mass(**{**centre.__dict__, "crown": crown}), *_maybe_porch(centre, rng, 0.5)]


def _lone_tower(style: Style, rng: np.random.Generator) -> list[Mass]:
    width = float(rng.uniform(5.5, 9.0))
    tower = _tower(style, rng, 0.0, 0.0, width, width * float(rng.uniform(2.0, 3.6)))
    if rng.random() < 0.5:
        return [tower]
    base = _body(style, rng, (3, 5), (1, 1), top=str(rng.choice(["balustrade", "crenels", "low"])))
    return [base, Mass(**{**tower.__dict__, "front": -1.5, "x": float(rng.choice([0.0, base.width * 0.3]))})]


def _gate(style: Style, rng: np.random.Generator) -> list[Mass]:
    bays = int(rng.choice([1, 3]))
    width = bays * float(rng.uniform(4.5, 6.0)) + 4.0
    height = width * float(rng.uniform(0.6, 1.1))
    top = str(rng.choice(["attic", "statues", "crenels", "pediment", "setback"]))
    gate = Mass(0.0, 0.0, width, height, width * 0.35, bays, 2, "body", top, "", bays)
    if rng.random() < 0.5:
        return [gate]
    thick = float(rng.uniform(3.5, 5.0))
    left = _tower(style, rng, -(width + thick) / 2, 1.0, thick, height * float(rng.uniform(1.05, 1.5)))
    return [gate, left, Mass(**{**left.__dict__, "x": -left.x})]


def _portico(style: Style, rng: np.random.Generator) -> list[Mass]:
    body = _body(style, rng, (5, 9), (2, 3), top=str(rng.choice(["balustrade", "attic", "low"])))
    crown = str(rng.choice(style.crowns)) if rng.random() < 0.45 else ""
    return [Mass(**{**body.__dict__, "crown": crown}), *_maybe_porch(body, rng, 1.0)]


def _maybe_porch(body: Mass, rng: np.random.Generator, chance: float) -> list[Mass]:
    if rng.random() >= chance:
        return []
    width = body.width * float(rng.choice([0.35, 0.6, 1.0]))
    height = body.height * float(rng.choice([0.45, 0.8, 1.0]))
    bays = max(2, round(width / float(rng.uniform(2.2, 3.6))))
    top = str(rng.choice(["pediment", "balustrade", "statues", "attic"]))
    return [Mass(0.0, body.front + float(rng.uniform(2.5, 4.5)), width, height, 3.0, bays, 1, "porch", top)]


_MASSINGS: dict[str, Callable[[Style, np.random.Generator], list[Mass]]] = {
    "block": _block,
    "basilica": _basilica,
    "twin": _twin,
    "campanile": _campanile,
    "centre": _centre,
    "wings": _wings,
    "tower": _lone_tower,
    "gate": _gate,
    "portico": _portico,
}
