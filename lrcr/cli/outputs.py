"""Files that a command is to write, checked before it works."""

from collections.abc import Sequence
from pathlib import Path

from lrcr.errors import ParamsError


def require_output(file: Path | None, subject: str, suffixes: Sequence[str] = ()) -> None:
    """Refuse a file of --output that is a folder, or whose suffix does not say what to write.

    Args:
        subject: of the file, in the plural, for the error.
        suffixes: those that there are; empty: any.

    Raises:
        ParamsError: it is refused.
    """
    if file is None:
        return
    require_no_folder("output", file)
    if suffixes and file.suffix not in suffixes:
        formats = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise ParamsError(f"--output {file}: {subject} are written as {formats}; choose one of these suffixes")


def require_pictures(pictures: dict[str, tuple[Path | None, str]]) -> None:
    """Refuse pictures that are folders, or have another suffix.

    Args:
        pictures: option → file and its subject.

    Raises:
        ParamsError: one is refused.
    """
    for option, (picture, subject) in pictures.items():
        if picture is not None:
            from lrcr.report.picture import picture_format  # imports matplotlib

            require_no_folder(option, picture)
            picture_format(picture, subject)


def require_no_folder(option: str, file: Path) -> None:
    """Refuse a file of an option that is a folder, or that would lie below a file.

    Raises:
        ParamsError: it is refused.
    """
    try:
        is_folder = file.is_dir()
        above = next(parent for parent in file.absolute().parents if parent.exists())
    except OSError as error:
        raise ParamsError(f"--{option} {file}: cannot be written ({error.strerror}); name another file") from None
    if is_folder:
        raise ParamsError(f"--{option} {file}: is a folder, not a file; name another file")
    if not above.is_dir():
        raise ParamsError(f"--{option} {file}: {above} is a file, not a folder; name another file")
