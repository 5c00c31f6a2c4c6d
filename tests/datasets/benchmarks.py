"""Datasets made from the look-alikes of public benchmarks."""

import io
import json
from pathlib import Path

from PIL import Image
from pydantic import TypeAdapter

from lrcr.config.datasets import DatasetParams
from lrcr.data.dataset import Dataset, open_dataset
from lrcr.data.images import load_image
from lrcr.datasets.make import make_dataset


def build(tmp_path: Path, kind: str, name: str | None = None, **more) -> Dataset:
    params = TypeAdapter(DatasetParams).validate_python({"kind": kind, **more})
    name = name or kind
    make_dataset(name, params, tmp_path / name, seed=0, checksums=tmp_path / "checksums.json")
    return open_dataset(tmp_path / name)


def facts(tmp_path: Path, name: str) -> dict:
    return json.loads((tmp_path / name / "dataset.json").read_text())["facts"]


def pixels(photo_: object) -> bytes:
    return load_image(photo_.path, orient=False).pixels.tobytes()


def decoded(contents: bytes) -> bytes:
    return Image.open(io.BytesIO(contents)).tobytes()
