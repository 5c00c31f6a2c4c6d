"""What the server bounds: uploads in bytes, pixels and time; requests that wait; results; memory of its caches."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The bounds of a server.

    Args:
        upload_bytes: of the body of a request.
        upload_seconds: in which the body must arrive.
        uploads: requests whose bodies are received at one time.
        pixels: of an uploaded photo.
        decode_seconds: for decoding an upload; then its process is ended.
        decode_bytes: of address space of the process that decodes uploads.
        answer_seconds: a request waits for its answer.
        waiting: requests that wait for the model.
        pictures: requests that wait for a picture of a photo.
        kept_bytes: of uploaded photos that are kept in memory; those used last are kept.
        picture_bytes: of pictures that are kept in memory.
        searches: whose results are kept.
        depth: most results of a search.
    """

    upload_bytes: int = 32 << 20
    upload_seconds: float = 30.0
    uploads: int = 32
    pixels: int = 100_000_000
    decode_seconds: float = 10.0
    decode_bytes: int = 4 << 30
    answer_seconds: float = 60.0
    waiting: int = 32
    pictures: int = 256
    kept_bytes: int = 256 << 20
    picture_bytes: int = 64 << 20
    searches: int = 32
    depth: int = 500
