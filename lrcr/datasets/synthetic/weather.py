"""Effects of weather and camera on an image: fog, rain, snow, blur, exposure, noise, compression."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lrcr.datasets.synthetic.canvas import Floats
from lrcr.datasets.synthetic.light import Light

_GREY = 110  # the level that a change of contrast does not move


@dataclass(frozen=True)
class Weather:
    """The conditions of one view.

    Args:
        fog: share of the landmark's light that haze replaces.
        rain, snow: strength in [0, 1].
        clouds: how much of the sky they cover, in [0, 1].
        defocus: standard deviation of the blur, in pixels of the finished image.
        motion: length of the motion blur in pixels of the frame, and its angle in radians.
        noise: standard deviation, of levels 0–255.
        exposure, contrast: factors.
        balance: white balance, factors of shape (3,).
        quality: of the JPEG.
    """

    fog: float
    rain: float
    snow: float
    clouds: float
    defocus: float
    motion: tuple[int, float]
    noise: float
    exposure: float
    contrast: float
    balance: Floats
    quality: int

    @property
    def clarity(self) -> float:
        """Share of image detail that remains, in [0, 1]."""
        air = (1 - self.fog) * (1 - 0.35 * self.rain) * (1 - 0.3 * self.snow)
        return air / (1 + 0.35 * self.defocus**2 + 0.08 * self.motion[0]) / (1 + self.noise / 60)


def sample_weather(light: Light, favourable: bool, rng: np.random.Generator) -> Weather:
    """Sample the conditions; `favourable` excludes rain, snow, dense fog, motion blur and strong defocus."""
    kind = str(
        rng.choice(["fair", "fog", "rain", "snow"], p=[0.94, 0.06, 0.0, 0.0] if favourable else [0.64, 0.16, 0.1, 0.1])
    )
    shaken = not favourable and rng.random() < 0.14
    noise_factor = 2.0 if light.kind in ("night", "dusk") else 1.0
    return Weather(
        fog=float(rng.uniform(0.2, 0.4 if favourable else 0.82)) if kind == "fog" else float(rng.uniform(0.0, 0.12)),
        rain=float(rng.uniform(0.3, 1.0)) if kind == "rain" else 0.0,
        snow=float(rng.uniform(0.3, 1.0)) if kind == "snow" else 0.0,
        clouds=float(rng.uniform(0.0, 0.75)),
        defocus=float(rng.uniform(*((0.6, 1.8) if not favourable and rng.random() < 0.18 else (0.0, 0.4)))),
        motion=(int(rng.integers(3, 8)) if shaken else 1, float(rng.uniform(0, np.pi))),
        noise=float(rng.uniform(0.4, 2.2)) * noise_factor,
        exposure=float(rng.uniform(0.82, 1.18)),
        contrast=float(rng.uniform(0.85, 1.15)),
        balance=rng.uniform(0.94, 1.06, 3).astype(np.float32),
        quality=int(rng.integers(45, 96)),
    )


def apply_weather(
    image: Image.Image, size: tuple[int, int], weather: Weather, light: Light, rng: np.random.Generator
) -> Image.Image:
    """Apply the effects to the oversampled frame and reduce it to `size` (width, height); compression follows later."""
    if weather.rain:
        image = _streaks(image, weather.rain, light, rng)
    if weather.snow:
        image = _flakes(image, weather.snow, light, rng)
    if weather.motion[0] > 1:
        image = _shake(image, *weather.motion)
    image = image.resize(size, Image.Resampling.BICUBIC)
    if weather.defocus > 0.3:
        image = image.filter(ImageFilter.GaussianBlur(weather.defocus))
    levels = (np.arange(256) * weather.balance[:, None] * weather.exposure - _GREY) * weather.contrast + _GREY
    pixels = np.asarray(image.point(np.clip(levels, 0, 255).astype(int).ravel().tolist()), np.float32)
    grain = rng.standard_normal((*pixels.shape[:2], 1), dtype=np.float32) * weather.noise
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


def _streaks(image: Image.Image, strength: float, light: Light, rng: np.random.Generator) -> Image.Image:
    mask = Image.new("L", image.size)
    draw = ImageDraw.Draw(mask)
    slant = float(rng.uniform(-0.25, 0.25))
    for x, y, length in rng.uniform([0, -40, 8], [*image.size, 36], (round(500 * strength), 3)):
        draw.line([(x, y), (x + slant * length, y + length)], fill=int(rng.integers(30, 110)), width=1)
    wet = tuple(int(channel) for channel in np.clip(light.horizon * 1.05, 0, 255))
    return Image.composite(Image.new("RGB", image.size, wet), image, mask)


def _flakes(image: Image.Image, strength: float, light: Light, rng: np.random.Generator) -> Image.Image:
    mask = Image.new("L", image.size)
    draw = ImageDraw.Draw(mask)
    for x, y, radius in rng.uniform([0, 0, 0.4], [*image.size, 2.6], (round(420 * strength), 3)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(rng.integers(90, 230)))
    white = tuple(int(channel) for channel in np.clip(255 * light.average, 60, 255))
    return Image.composite(Image.new("RGB", image.size, white), image, mask)


def _shake(image: Image.Image, length: int, angle: float) -> Image.Image:
    pixels = np.asarray(image, np.uint16)
    total = np.zeros_like(pixels)
    for step in range(length):
        shift = step - length // 2
        total += np.roll(pixels, (round(shift * np.sin(angle)), round(shift * np.cos(angle))), axis=(0, 1))
    return Image.fromarray((total // length).astype(np.uint8))
