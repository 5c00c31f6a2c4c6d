"""Imports without the search for garbage."""

import gc

import pytest

from lrcr.runtime.imports import quick_imports


def test_garbage_is_searched_rarely_inside_and_as_before_afterwards():
    before = gc.get_threshold()
    with quick_imports():
        assert gc.get_threshold()[0] == 100_000 and gc.isenabled()
    assert gc.get_threshold() == before
    with pytest.raises(ImportError), quick_imports():
        import lrcr.no_such_module  # noqa: F401
    assert gc.get_threshold() == before
