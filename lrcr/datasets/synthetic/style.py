"""Palettes and architectural styles, which the buildings of all splits share."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """Colours of one building (RGB, 0–255): wall, dressed stone, roof, doors and signs, glass."""

    wall: Colour
    trim: Colour
    roof: Colour
    accent: Colour
    glass: Colour


@dataclass(frozen=True)
class Style:
    """One style: the variants of each part to sample from (explained in the module that draws the part)."""

    masonry: tuple[str, ...]
    arches: tuple[str, ...]
    glazing: tuple[str, ...]
    hoods: tuple[str, ...]
    supports: tuple[str, ...]
    friezes: tuple[str, ...]
    features: tuple[str, ...]
    tops: tuple[str, ...]
    crowns: tuple[str, ...]
    massings: tuple[str, ...]


PALETTES = (
    Palette((206, 184, 146), (228, 212, 182), (112, 92, 84), (120, 60, 40), (58, 66, 78)),
    Palette((200, 198, 190), (222, 220, 214), (88, 94, 104), (52, 84, 92), (52, 60, 72)),
    Palette((156, 86, 68), (216, 202, 178), (92, 64, 58), (40, 70, 60), (50, 52, 60)),
    Palette((192, 162, 108), (230, 220, 198), (92, 86, 82), (110, 44, 38), (60, 62, 66)),
    Palette((226, 222, 212), (196, 192, 182), (160, 86, 62), (44, 80, 130), (62, 72, 84)),
    Palette((214, 172, 98), (236, 226, 202), (146, 80, 60), (60, 96, 74), (58, 60, 62)),
    Palette((206, 150, 136), (234, 222, 210), (108, 98, 96), (86, 60, 50), (60, 62, 72)),
    Palette((140, 142, 146), (178, 180, 182), (72, 76, 84), (140, 110, 60), (44, 50, 60)),
    Palette((186, 114, 82), (222, 190, 152), (92, 124, 112), (62, 54, 52), (54, 56, 60)),
)

STYLES = (
    Style(  # Gothic
        masonry=("ashlar", "ashlar", "brick", "bands"),
        arches=("pointed", "pointed", "trefoil", "ogee"),
        glazing=("tracery", "tracery", "diamond", "bars"),
        hoods=("none", "gablet", "label"),
        supports=("buttress", "none", "shaft"),
        friezes=("arcade", "quatrefoil", "plain", "zigzag"),
        features=("rose", "clock", "niche"),
        tops=("gable", "crenels", "pinnacles", "steep"),
        crowns=("spire", "spire", "pinnacled", "crenelled"),
        massings=("twin", "campanile", "centre", "basilica", "tower"),
    ),
    Style(  # Classical
        masonry=("ashlar", "stucco", "rustic"),
        arches=("flat", "flat", "round"),
        glazing=("grid", "grid", "cross", "bars"),
        hoods=("cornice", "pediment", "arc", "none"),
        supports=("column", "pilaster", "column"),
        friezes=("dentils", "triglyphs", "letters", "meander", "swags"),
        features=("shield", "clock", "relief", "letters"),
        tops=("pediment", "balustrade", "attic", "statues"),
        crowns=("dome", "lantern", "dome", "cupola"),
        massings=("portico", "wings", "centre", "block", "gate"),
    ),
    Style(  # Palazzo
        masonry=("rustic", "stucco", "bands", "ashlar"),
        arches=("round", "segmental", "round", "flat"),
        glazing=("bifora", "cross", "grid", "bars"),
        hoods=("arc", "cornice", "label", "none"),
        supports=("none", "pilaster", "shaft"),
        friezes=("meander", "rosettes", "swags", "plain", "arcade"),
        features=("shield", "clock", "mosaic", "sundial"),
        tops=("crenels", "balustrade", "low", "attic"),
        crowns=("crenelled", "lantern", "pyramid"),
        massings=("block", "campanile", "block", "gate", "wings"),
    ),
    Style(  # Baroque
        masonry=("stucco", "stucco", "ashlar"),
        arches=("round", "segmental", "ogee"),
        glazing=("grid", "cross", "grid"),
        hoods=("arc", "pediment", "scroll", "cornice"),
        supports=("pilaster", "column", "pilaster"),
        friezes=("swags", "rosettes", "dentils", "letters"),
        features=("niche", "clock", "relief", "shield", "rose"),
        tops=("scrolls", "statues", "pediment", "mansard"),
        crowns=("onion", "dome", "cupola", "lantern"),
        massings=("twin", "centre", "wings", "basilica", "tower"),
    ),
    Style(  # Hanseatic brick
        masonry=("brick", "diaper", "brick", "bands"),
        arches=("segmental", "pointed", "round", "flat"),
        glazing=("grid", "bifora", "cross"),
        hoods=("none", "label"),
        supports=("none", "buttress", "pilaster"),
        friezes=("zigzag", "arcade", "quatrefoil", "checks"),
        features=("clock", "shield", "niche", "letters"),
        tops=("stepped", "scrolls", "pinnacles", "steep"),
        crowns=("spire", "cupola", "pyramid", "pinnacled"),
        massings=("block", "campanile", "twin", "tower", "gate"),
    ),
    Style(  # Timber frame
        masonry=("timber", "timber", "stucco"),
        arches=("flat", "flat", "segmental"),
        glazing=("diamond", "grid", "cross"),
        hoods=("none", "cornice"),
        supports=("none",),
        friezes=("checks", "zigzag", "plain", "rosettes"),
        features=("clock", "letters", "sundial", "shield"),
        tops=("steep", "gable", "stepped", "mansard"),
        crowns=("pyramid", "spire", "cupola"),
        massings=("block", "campanile", "centre", "wings"),
    ),
    Style(  # Moorish
        masonry=("bands", "stucco", "diaper"),
        arches=("horseshoe", "horseshoe", "ogee", "round"),
        glazing=("lattice", "bifora", "lattice"),
        hoods=("label", "none", "cornice"),
        supports=("shaft", "none", "column"),
        friezes=("stars", "zigzag", "quatrefoil", "checks"),
        features=("mosaic", "rose", "letters"),
        tops=("crenels", "attic", "low", "pinnacles"),
        crowns=("onion", "dome", "lantern", "onion"),
        massings=("gate", "twin", "centre", "campanile", "block"),
    ),
    Style(  # Art deco
        masonry=("stucco", "ashlar", "brick"),
        arches=("flat", "flat", "round", "circle"),
        glazing=("bars", "grid", "cross"),
        hoods=("none", "cornice"),
        supports=("fin", "fin", "pilaster"),
        friezes=("sunburst", "checks", "zigzag", "letters", "meander"),
        features=("clock", "letters", "mosaic", "relief"),
        tops=("setback", "attic", "signboard", "stepped"),
        crowns=("ziggurat", "lantern", "pyramid"),
        massings=("block", "tower", "centre", "wings", "campanile"),
    ),
)


def vary(palette: Palette, rng: np.random.Generator, spread: int = 9) -> Palette:
    """The palette with each channel moved at random by at most `spread`, so that buildings differ in colour."""
    colours = [palette.wall, palette.trim, palette.roof, palette.accent, palette.glass]
    moved = [np.clip(np.array(colour) + rng.integers(-spread, spread + 1, 3), 0, 255) for colour in colours]
    return Palette(*((int(red), int(green), int(blue)) for red, green, blue in moved))


def tint(colour: Colour, factor: float) -> Colour:
    """The colour, darker (factor below 1) or lighter."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return red, green, blue
