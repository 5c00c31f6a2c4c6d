"""What is done with the contents of archives, as a function that the forking process can import."""

from pathlib import Path

from lrcr.datasets.contents import find_images
from lrcr.datasets.fetch import Fetched


def look(fetched: list[Fetched], root: Path, target: Path) -> None:
    """Write down what archives hold."""
    contents = find_images(fetched, root, [str(number) for number in range(60)])
    contents.images.to_csv(target)
    contents.remove_state()
