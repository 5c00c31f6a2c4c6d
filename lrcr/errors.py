"""The exceptions that lrcr raises on purpose.

Each message is one line that names the place (file or key), the value found there and the remedy. The command line
prints it and exits with code 2; anything else that escapes is a defect of lrcr.
"""


class LrcrError(Exception):
    """Base of every error that the user can mend."""


class ParamsError(LrcrError):
    """A parameter that is unknown, of the wrong type or out of range."""


class DatasetError(LrcrError):
    """A dataset, its tables or its ground truth contradict the contract."""


class DownloadError(LrcrError):
    """A public file that cannot be downloaded, does not fit on the disk, or is not the expected one."""


class ImageError(LrcrError):
    """An image file that cannot be decoded by the stated rules."""


class WeightsError(LrcrError):
    """Weights that do not fit the network they are meant for."""


class OutOfMemoryError(LrcrError):
    """The memory of the machine or of its GPU ran out."""


class ArtifactError(LrcrError):
    """An artifact that is missing, damaged or made from other inputs than its consumer's."""
