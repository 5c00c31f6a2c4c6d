"""Photos by id: uploads by the hash of their contents, images of an index by its number and theirs, as in `0-17`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lrcr.app.errors import NotFoundError
from lrcr.app.limits import Limits
from lrcr.app.memory import Memory
from lrcr.app.pictures import draw_picture
from lrcr.app.served import Opened, ServedIndex
from lrcr.app.uploads import Accepted, Examiner, Upload
from lrcr.data.decoding import ImageFile
from lrcr.data.images import load_image
from lrcr.errors import ImageError


@dataclass(frozen=True)
class ServedPhoto:
    """A photo that a request names.

    Args:
        id: of the photo.
        name: of the file, for messages and for the page.
        file: to read it from.
        width: as a viewer shows it, in pixels.
        height: likewise.
    """

    id: str
    name: str
    file: ImageFile
    width: int
    height: int


class Photos:
    """The photos that the server knows.

    Args:
        indexes: that are served.
        limits: of the server.
        stored: finds an upload that was stored with a judgement, by its hash; None: there is none.
    """

    def __init__(self, indexes: Sequence[ServedIndex], limits: Limits, stored: Callable[[str], Upload | None]) -> None:
        self._indexes, self._stored = indexes, stored
        self.examiner = Examiner(limits)
        self._uploads: Memory[Accepted] = Memory(
            limits.kept_bytes, lambda one: len(one.photo.contents) + len(one.preview)
        )
        self._pictures: Memory[bytes] = Memory(limits.picture_bytes, len)

    def index(self, number: int) -> Opened:
        """An index, as it is now.

        Raises:
            NotFoundError: there is no such index.
        """
        if number >= len(self._indexes):
            raise NotFoundError(f"index {number}: there are {len(self._indexes)}, numbered from 0; name one of them")
        return self._indexes[number].current()

    def upload(self, photo: Upload) -> ServedPhoto:
        """Accept an upload.

        Raises:
            ImageError: it cannot be decoded within the limits.
        """
        sha256 = photo.sha256
        accepted = self._uploads.get(sha256) or self.examiner.examine(photo)
        self._uploads.keep(sha256, accepted)
        return ServedPhoto(sha256, photo.name, accepted.photo, accepted.width, accepted.height)

    def find(self, photo: str) -> ServedPhoto:
        """The photo with an id.

        Raises:
            NotFoundError: there is none.
        """
        if "-" not in photo:
            accepted = self._uploaded(photo)
            return ServedPhoto(photo, str(accepted.photo), accepted.photo, accepted.width, accepted.height)
        number, image = map(int, photo.split("-"))
        found = self.index(number).photo(image)
        return ServedPhoto(photo, found.name, found.file, found.width, found.height)

    def _uploaded(self, sha256: str) -> Accepted:
        if accepted := self._uploads.get(sha256):
            return accepted
        if (stored := self._stored(sha256)) is None:
            raise NotFoundError("this photo is no longer kept by the server; choose it again")
        accepted = self.examiner.examine(stored)
        self._uploads.keep(sha256, accepted)
        return accepted

    def picture(self, photo: str, size: int) -> bytes:
        """A JPEG of a photo, for the page.

        Raises:
            NotFoundError: there is no such photo, or its file cannot be read.
        """
        if "-" not in photo:
            return self._uploaded(photo).preview
        number, image = map(int, photo.split("-"))
        opened = self.index(number)
        key = (number, opened.generation, image, size)
        if picture := self._pictures.get(key):
            return picture
        found = opened.photo(image)
        try:
            loaded = load_image(found.file, orient=True, image_size=size, tolerate_truncated=True)
        except ImageError:
            raise NotFoundError(f"{found.name}: its file is missing or damaged; name its folder by --photos") from None
        picture = draw_picture(loaded, size)
        self._pictures.keep(key, picture)
        return picture
