"""Sprites of occluders: people, trees, vehicles, lamps, signs and kiosks, shared by all views of all splits."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from lrcr.datasets.synthetic.style import Colour, tint

_HEIGHT = 160  # pixels of a sprite
_COUNT = {"person": 10, "tree": 8, "car": 6, "bus": 3, "lamp": 4, "sign": 4, "kiosk": 3}
HEIGHTS = {"person": 1.75, "tree": 8.0, "car": 1.5, "bus": 3.2, "lamp": 5.5, "sign": 2.6, "kiosk": 3.0}  # metres
_ASPECT = {"person": 0.42, "tree": 0.8, "car": 2.7, "bus": 2.9, "lamp": 0.25, "sign": 0.3, "kiosk": 0.9}
_PAINTS: tuple[Colour, ...] = (
    (170, 40, 40),
    (40, 70, 140),
    (220, 220, 222),
    (40, 42, 46),
    (160, 164, 168),
    (226, 186, 60),
    (44, 110, 80),
)


def sample_sprite(kind: str, rng: np.random.Generator) -> Image.Image:
    """A random sprite of a kind (RGBA), mirrored with probability ½."""
    sprite = _pool(kind)[int(rng.integers(_COUNT[kind]))]
    return sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else sprite


@cache
def _pool(kind: str) -> tuple[Image.Image, ...]:
    return tuple(_draw(kind, np.random.default_rng([index, len(kind)])) for index in range(_COUNT[kind]))


def _draw(kind: str, rng: np.random.Generator) -> Image.Image:
    size = (round(2 * _HEIGHT * _ASPECT[kind]), 2 * _HEIGHT)
    image = Image.new("RGBA", size, (70, 70, 66, 0))
    _DRAWERS[kind](ImageDraw.Draw(image), *size, rng)
    return image.resize((size[0] // 2, size[1] // 2), Image.Resampling.BOX)


def _paint(rng: np.random.Generator) -> Colour:
    return tint(_PAINTS[int(rng.integers(len(_PAINTS)))], float(rng.uniform(0.7, 1.15)))


def _person(draw: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    x, coat, legs = width / 2, _paint(rng), tint((60, 62, 80), float(rng.uniform(0.5, 1.6)))
    skin = tint((206, 160, 130), float(rng.uniform(0.5, 1.1)))
    stride = width * float(rng.uniform(0.08, 0.25))
    for side in (-1, 1):
        draw.line([(x, height * 0.5), (x + side * stride, height)], fill=legs, width=round(width * 0.2))
        hand = (x + side * width * float(rng.uniform(0.2, 0.42)), height * float(rng.uniform(0.35, 0.6)))
        draw.line([(x + side * width * 0.16, height * 0.22), hand], fill=tint(coat, 0.85), width=round(width * 0.13))
    draw.rounded_rectangle((x - width * 0.24, height * 0.16, x + width * 0.24, height * 0.58), width * 0.15, fill=coat)
    draw.ellipse((x - width * 0.13, 0, x + width * 0.13, height * 0.15), fill=skin)
    draw.pieslice(
        (x - width * 0.14, -2, x + width * 0.14, height * 0.14),
        180,
        360,
        fill=tint((60, 44, 36), float(rng.uniform(0.4, 2.5))),
    )
    if rng.random() < 0.3:
        draw.rectangle((x + width * 0.15, height * 0.22, x + width * 0.36, height * 0.45), fill=_paint(rng))


def _tree(draw: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    x, bark = width / 2, tint((84, 66, 50), float(rng.uniform(0.7, 1.2)))
    draw.polygon(
        [
            (x - width * 0.05, height),
            (x + width * 0.05, height),
            (x + width * 0.02, height * 0.4),
            (x - width * 0.02, height * 0.4),
        ],
        fill=bark,
    )
    leaf = np.array([(70, 104, 48), (96, 116, 52), (52, 84, 58), (150, 110, 50)][int(rng.integers(4))])
    kind = rng.random()
    if kind < 0.2:  # bare
        _branch(draw, (x, height * 0.55), height * 0.25, -np.pi / 2, bark, 5, rng)
        return
    for step in range(90):
        level = step / 90
        if kind < 0.45:  # conifer
            y, reach = height * (0.85 - 0.8 * level), width * 0.42 * (1 - level) + 4
        else:
            y, reach = height * float(rng.uniform(0.08, 0.62)), width * 0.4
            reach *= float(np.sqrt(max(0.05, 1 - ((y / height - 0.35) / 0.33) ** 2)))
        centre = x + float(rng.uniform(-1, 1)) * reach
        size = width * float(rng.uniform(0.05, 0.12))
        red, green, blue = (int(channel) for channel in leaf * rng.uniform(0.6, 1.25))
        draw.ellipse((centre - size, y - size, centre + size, y + size), fill=(red, green, blue))


def _branch(
    draw: ImageDraw.ImageDraw,
    start: tuple[float, float],
    length: float,
    angle: float,
    bark: Colour,
    depth: int,
    rng: np.random.Generator,
) -> None:
    end = (start[0] + length * float(np.cos(angle)), start[1] + length * float(np.sin(angle)))
    draw.line([start, end], fill=bark, width=2 * depth - 1)
    if depth > 1:
        for turn in (-0.5, 0.45):
            _branch(draw, end, length * 0.72, angle + turn + float(rng.uniform(-0.2, 0.2)), bark, depth - 1, rng)


def _car(draw: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    body, roof = _paint(rng), float(rng.uniform(0.0, 0.12))
    draw.rounded_rectangle((0, height * 0.42, width, height * 0.85), height * 0.15, fill=body)
    draw.polygon(
        [
            (width * 0.16, height * 0.45),
            (width * 0.3, height * roof),
            (width * 0.7, height * roof),
            (width * 0.88, height * 0.45),
        ],
        fill=body,
    )
    for left, right in ((0.24, 0.48), (0.52, 0.78)):
        top = height * (roof + 0.08)
        draw.polygon(
            [
                (width * left, height * 0.42),
                (width * (left + 0.07), top),
                (width * (right - 0.05), top),
                (width * right, height * 0.42),
            ],
            fill=(52, 62, 72),
        )
    for x in (0.2, 0.79):
        draw.ellipse((width * x - height * 0.22, height * 0.58, width * x + height * 0.22, height), fill=(26, 26, 28))
        draw.ellipse(
            (width * x - height * 0.1, height * 0.7, width * x + height * 0.1, height * 0.9), fill=(150, 152, 156)
        )


def _bus(draw: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    draw.rounded_rectangle((0, height * 0.04, width, height * 0.88), height * 0.08, fill=_paint(rng))
    draw.rectangle((0, height * 0.6, width, height * 0.7), fill=_paint(rng))
    panes = int(rng.integers(4, 8))
    for pane in range(panes):
        draw.rectangle(
            (width * (pane + 0.12) / panes, height * 0.16, width * (pane + 0.88) / panes, height * 0.52),
            fill=(50, 58, 68),
        )
    for x in (0.2, 0.8):
        draw.ellipse((width * x - height * 0.14, height * 0.72, width * x + height * 0.14, height), fill=(24, 24, 26))


def _lamp(draw: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    x, iron = width / 2, tint((56, 60, 58), float(rng.uniform(0.6, 1.4)))
    draw.rectangle((x - width * 0.05, height * 0.1, x + width * 0.05, height), fill=iron)
    draw.rectangle((x - width * 0.12, height * 0.9, x + width * 0.12, height), fill=iron)
    for side in (-1, 1) if rng.random() < 0.5 else (0,):
        head = x + side * width * 0.33
        draw.line([(x, height * 0.14), (head, height * 0.1)], fill=iron, width=5)
        draw.ellipse((head - width * 0.15, height * 0.02, head + width * 0.15, height * 0.1), fill=(236, 226, 190))


def _sign(draw: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    x, face = width / 2, _paint(rng)
    draw.rectangle((x - width * 0.06, 0, x + width * 0.06, height), fill=(120, 122, 124))
    if rng.random() < 0.5:
        draw.ellipse((0, 0, width, width), fill=face)
        draw.rectangle((width * 0.15, width * 0.42, width * 0.85, width * 0.58), fill=(240, 240, 236))
    else:
        draw.rectangle((0, 0, width, width * 1.3), fill=face)
        for line in range(4):
            draw.line(
                [
                    (width * 0.12, width * (0.25 + 0.25 * line)),
                    (width * float(rng.uniform(0.4, 0.9)), width * (0.25 + 0.25 * line)),
                ],
                fill=(240, 240, 236),
                width=6,
            )


def _kiosk(draw: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    stripes, cloth = int(rng.integers(4, 9)), _paint(rng)
    draw.rectangle(
        (width * 0.08, height * 0.3, width * 0.92, height), fill=tint((150, 130, 104), float(rng.uniform(0.5, 1.2)))
    )
    draw.rectangle((width * 0.16, height * 0.36, width * 0.84, height * 0.66), fill=(46, 44, 44))
    for stripe in range(stripes):
        fill = cloth if stripe % 2 else (232, 228, 218)
        left, right = width * stripe / stripes, width * (stripe + 1) / stripes
        draw.polygon(
            [
                (left * 0.8 + width * 0.1, height * 0.05),
                (right * 0.8 + width * 0.1, height * 0.05),
                (right, height * 0.36),
                (left, height * 0.36),
            ],
            fill=fill,
        )


_DRAWERS = {"person": _person, "tree": _tree, "car": _car, "bus": _bus, "lamp": _lamp, "sign": _sign, "kiosk": _kiosk}
