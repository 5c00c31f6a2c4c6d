"""Refusals of a request, each with its HTTP status. Other `LrcrError`s have the status 400."""

from lrcr.errors import LrcrError


class RequestError(LrcrError):
    """A request that is refused with another status than 400."""

    status = 400


class NotFoundError(RequestError):
    """There is no such photo, index or page."""

    status = 404


class BusyError(RequestError):
    """Too many requests wait already."""

    status = 429


class LateError(RequestError):
    """The answer took too long."""

    status = 503
