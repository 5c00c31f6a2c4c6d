"""Dividing what an index stores."""

import pytest

from lrcr.errors import ParamsError
from lrcr.storage.division import divide


@pytest.mark.parametrize(
    ("sizes", "parts", "said"),
    [([3, 4], 3, "give 1 to 2"), ([3, 4], 0, "give 1 to 2"), ([3], 2, "leave it out")],
)
def test_what_cannot_be_divided_is_refused(sizes, parts, said):
    with pytest.raises(ParamsError, match=rf"^shards: {parts}, but my\.index has some segments; {said}$"):
        divide(sizes, parts, "my.index has some segments")
