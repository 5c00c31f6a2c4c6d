"""Files as they are in the last commit, read with git alone: importing DVC takes a second."""

import subprocess


def read_committed(*paths: str) -> tuple[str, list[bytes]] | None:
    """Read files of git's HEAD.

    Args:
        paths: relative to the working folder.

    Returns:
        The short name of the commit and the contents of the files; None outside of git, or if a file is not there.
    """
    name = _git("rev-parse", "--short", "HEAD")
    contents = [_git("show", f"HEAD:./{path}") for path in paths]
    found = [each for each in contents if each is not None]
    return None if name is None or len(found) < len(paths) else (name.decode().strip(), found)


def _git(*arguments: str) -> bytes | None:
    """What a command of git prints; None if it fails, or there is no git."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
