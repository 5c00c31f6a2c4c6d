"""The exceptions that lrcr raises on purpose.

Each message is one line: the place (file or key), the value found there and the remedy. The command line prints the
message and exits with code 2; after `ShareMade` with code 0. Any other exception that reaches the user is a defect of
lrcr.
"""


class ShareMade(Exception):  # noqa: N818  the work was done
    """This process has made its share of the shards of a step, and leaves the rest of the step to another run."""


class LrcrError(Exception):
    """Base class of all errors that the user can correct."""


class ParamsError(LrcrError):
    """A parameter that is unknown, of the wrong type or out of range."""


class DatasetError(LrcrError):
    """A dataset, its tables or its ground truth do not follow the dataset format."""


class DownloadError(LrcrError):
    """A public file that cannot be downloaded, does not fit on the disk, or is not the expected one."""


class ImageError(LrcrError):
    """An image file that cannot be decoded by the rules of `lrcr.data.images`."""


class WeightsError(LrcrError):
    """Weights that cannot be read, or that do not fit the network."""


class OutOfMemoryError(LrcrError):
    """The memory of the machine or of its GPU is exhausted."""


class ArtifactError(LrcrError):
    """An artifact that is missing, damaged, or made from other inputs than those of the step that reads it."""


def counted(number: int, thing: str) -> str:
    """A number of things for a message: `1 file`, `2 files`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


class LostShardError(LrcrError):
    """A process or machine that searched a part of an index has ended, or cannot be reached."""
