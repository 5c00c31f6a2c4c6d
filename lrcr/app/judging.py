"""Judgements of results, in a folder that `lrcr evaluate` measures.

    judgements.json       what was judged, also what is wrong
    ground_truth.json     made from it after each judgement (`lrcr.datasets.ground_truth`)
    images/photos         a link to the folder of the photos; of a second folder photos-2, and so on
    images/queries/       uploads that were judged as queries and are not in an index

Both files are written atomically before a judgement is answered, and the first is read again before each change, under
a lock: nothing is lost if the server is killed, or if two write.
"""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from filelock import FileLock

from lrcr.app.answers import JudgedQuery, Mark
from lrcr.app.photos import ServedPhoto
from lrcr.app.served import Opened, ServedIndex
from lrcr.app.uploads import Upload
from lrcr.data.dataset import GRADES
from lrcr.data.decoding import ImageFile
from lrcr.data.images import Box, round_box
from lrcr.errors import ArtifactError, ImageError, ParamsError, counted
from lrcr.storage.artifacts import read_json, staged_file, write_json

_JUDGEMENTS, _TRUTH, _LOCK = "judgements.json", "ground_truth.json", ".lock"
_log = logging.getLogger(__name__)
_QUERIES = "queries"
Query = tuple[str, Box | None]
"""The name of a query in the ground truth, and its box."""


class Judging:
    """Judgements in a folder, which is made with the first one.

    Args:
        folder: of the judgements.
        indexes: whose images are judged.

    Raises:
        ParamsError: the folder lies among the photos, or holds something else.
        ArtifactError: its judgements are damaged.
    """

    def __init__(self, folder: Path, indexes: Sequence[ServedIndex]) -> None:
        self.folder, self._images, self._indexes = folder, folder / "images", indexes
        self._known: tuple[list[Opened], dict[str, None]] = [], {}
        if inside := next((root for root in self._roots() if folder.resolve().is_relative_to(root.resolve())), None):
            raise ParamsError(f"--judged {folder}: lies among the photos of {inside}; name a folder elsewhere")
        if folder.exists() and not (folder / _JUDGEMENTS).is_file() and (not folder.is_dir() or any(folder.iterdir())):
            raise ParamsError(f"--judged {folder}: holds something else than judgements; name another folder")
        if self._read():
            self._write_truth(self._read())  # it was killed between the two files, or the index has other images now

    def _roots(self) -> list[Path]:
        """The folders of the photos of all indexes."""
        return list(dict.fromkeys(root for served in self._indexes for root in served.current().index.searcher.roots))

    def _links(self) -> dict[Path, str]:
        """Folder of photos → its name below `images/`; new folders get the next names."""
        present = [entry for entry in sorted(self._images.glob("*")) if entry.is_symlink()]
        links = {entry.readlink(): entry.name for entry in present}
        for root in self._roots():
            links.setdefault(root, f"photos-{len(links) + 1}" if links else "photos")
        return links

    def names(self, files: Sequence[ImageFile]) -> list[str]:
        """The name in the ground truth of each file; empty for images in archives, which cannot be judged."""
        links = self._links()
        return [_name(file, links) for file in files]

    def query(self, photo: ServedPhoto, box: Box | None) -> Query:
        """The query of a photo: an upload with the bytes of an image of an index is that image."""
        file = photo.file
        if isinstance(file, Upload):
            for opened in (served.current() for served in self._indexes):
                if (image := opened.hashes.get(file.sha256)) is not None:
                    file = opened.photo(image).file
                    break
        return self.names([file])[0], box

    def marks(self, query: Query) -> dict[str, Mark]:
        """Name of an image → how it was judged for a query."""
        return self._read().get(query, {})

    def judge(self, photo: ServedPhoto, box: Box | None, result: ServedPhoto, mark: Mark | None) -> None:
        """Judge a result, or take its judgement back.

        Raises:
            ImageError: the box is not inside the photo.
            ParamsError: the result is the query itself, or lies in an archive.
        """
        if box is not None:
            _require_inside(photo, box)
        query, [image] = self.query(photo, box), self.names([result.file])
        if not image or not query[0]:
            raise ParamsError(f"{result.name}: lies in an archive, and only photos in folders can be judged; copy them")
        if image == query[0]:
            raise ParamsError(f"{result.name}: is the query itself, which never counts; judge another result")
        self._images.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / _LOCK):
            judgements = self._read()
            judgements.setdefault(query, {}).pop(image, None)
            if mark is not None:
                judgements[query][image] = mark
            judgements = {one: marks for one, marks in judgements.items() if marks}
            self._store_query(photo.file, query[0])
            rows = [{"image": name, "bbox": part, "marks": marks} for (name, part), marks in judgements.items()]
            write_json(self.folder / _JUDGEMENTS, {"queries": rows})
            self._write_truth(judgements)

    def _store_query(self, file: ImageFile, name: str) -> None:
        target = self._images / name
        if isinstance(file, Upload) and name.startswith(f"{_QUERIES}/") and not target.exists():
            with staged_file(target) as temporary:
                temporary.write_bytes(file.contents)

    def _write_truth(self, judgements: dict[Query, dict[str, Mark]]) -> None:
        links = self._links()
        self._images.mkdir(parents=True, exist_ok=True)
        for root, name in links.items():
            if not (self._images / name).is_symlink():
                (self._images / name).symlink_to(root)
        kept = {  # of photos that are there
            query: {image: mark for image, mark in marks.items() if (self._images / image).exists()}
            for query, marks in judgements.items()
            if (self._images / query[0]).exists()
        }
        if left_out := sum(map(len, judgements.values())) - sum(map(len, kept.values())):
            _log.warning("%s: %s of photos that are gone left out", self.folder, counted(left_out, "judgement"))
        queries = [
            {"image": name, "bbox": box, **{grade: [one for one in marks if marks[one] == grade] for grade in GRADES}}
            for (name, box), marks in kept.items()
            if set(marks.values()) & set(GRADES)
        ]
        judged = (image for marks in kept.values() for image in marks)
        database = self._database(links) | dict.fromkeys(judged)
        write_json(self.folder / _TRUTH, {"database": list(database), "queries": queries})

    def _database(self, links: dict[Path, str]) -> dict[str, None]:
        """The names of the images of all indexes."""
        opened = [served.current() for served in self._indexes]
        if self._known[0] != opened:
            files = (file for one in opened for file in one.files)
            names = (name for file in files if (name := _name(file, links)))
            self._known = opened, dict.fromkeys(name for name in names if (self._images / name).exists())
        return self._known[1]

    def _read(self) -> dict[Query, dict[str, Mark]]:
        file = self.folder / _JUDGEMENTS
        if not file.is_file():
            return {}
        try:
            rows: list[dict[str, Any]] = read_json(file)["queries"]
            return {(row["image"], _box(row["bbox"])): dict(row["marks"]) for row in rows}
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{file}: not judgements of lrcr ({error!r}); move it away") from None

    def queries(self) -> list[JudgedQuery]:
        """All judged queries."""
        links = {name: root for root, name in self._links().items()}
        return [
            JudgedQuery(photo=self._id(name, links), image=name, box=box, counts=dict(Counter(marks.values())))
            for (name, box), marks in self._read().items()
        ]

    def _id(self, name: str, links: dict[str, Path]) -> str | None:
        """The id of a judged query, if its photo is served now."""
        folder, _, rest = name.partition("/")
        if folder == _QUERIES:
            return PurePath(rest).stem
        for number, opened in enumerate(served.current() for served in self._indexes):
            if folder in links and (image := opened.ids.get(links[folder] / rest)) is not None:
                return f"{number}-{image}"
        return None

    def stored(self, sha256: str) -> Upload | None:
        """An upload that was stored with a judgement."""
        files = (file for file in self._images.glob(f"{_QUERIES}/*") if file.stem == sha256)
        return next((Upload(file.name, file.read_bytes()) for file in files), None)


def _name(file: ImageFile, links: dict[Path, str]) -> str:
    if isinstance(file, Upload):
        suffix = PurePath(file.name).suffix.lower()
        return f"{_QUERIES}/{file.sha256}{suffix if re.fullmatch(r'.[a-z0-9]{1,5}', suffix) else ''}"
    if isinstance(file, Path):
        for root, name in links.items():
            if file.is_relative_to(root):
                return f"{name}/{file.relative_to(root).as_posix()}"
    return ""


def _require_inside(photo: ServedPhoto, box: Box) -> None:
    try:
        round_box(box, (photo.width, photo.height), (photo.width, photo.height))
    except ImageError as error:
        raise ImageError(f"{photo.name}: {error}") from None


def _box(numbers: list[float] | None) -> Box | None:
    if numbers is None:
        return None
    x0, y0, x1, y1 = map(float, numbers)
    return x0, y0, x1, y1
