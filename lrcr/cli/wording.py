"""Errors of the library in the words of the command line: options in place of the names of arguments."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from lrcr.errors import ImageError, ParamsError

_TRUNCATED = re.compile(r"(\.jpe?g: cannot be read \(image file is truncated.*?\)); .*", re.IGNORECASE)


@contextmanager
def name_options(*arguments: str) -> Iterator[None]:
    """Turn errors that begin with the name of an argument: `min_inliers: …` becomes `--min-inliers: …`."""
    try:
        yield
    except ParamsError as error:
        name, _, rest = str(error).partition(":")
        if name not in arguments:
            raise
        raise ParamsError(f"--{name.replace('_', '-')}:{rest}") from None


@contextmanager
def name_tolerance(*, tolerated: bool) -> Iterator[None]:
    """Name --tolerate-truncated in the error of a JPEG that lacks its last bytes, unless it is given."""
    try:
        yield
    except ImageError as error:
        if tolerated or not _TRUNCATED.search(str(error)):
            raise
        remedy = r"\1; copy it again, or accept it with --tolerate-truncated"
        raise ImageError(_TRUNCATED.sub(remedy, str(error))) from None
