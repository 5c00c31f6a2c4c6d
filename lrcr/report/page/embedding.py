"""Images inside a page: JPEGs of bounded size, as data URIs."""

from base64 import b64encode
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

_WIDEST = 1400  # pixels of an embedded picture
_QUALITY = 82


def embed_photo(photo: Image.Image, description: str) -> str:
    """The element `img` of a decoded photo, at its size."""
    contents = BytesIO()
    photo.save(contents, "JPEG", quality=_QUALITY)
    source = f"data:image/jpeg;base64,{b64encode(contents.getvalue()).decode()}"
    return f'<img src="{source}" width="{photo.width}" height="{photo.height}" alt="{escape(description)}">'


def embed_picture(file: Path, description: str) -> str:
    """The element `img` of a picture in a file, without its white border; at most 1400 pixels wide."""
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    picture = picture.crop(ImageOps.invert(picture).getbbox())
    if picture.width > _WIDEST:
        size = (_WIDEST, max(1, round(picture.height * _WIDEST / picture.width)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return embed_photo(picture, description)
