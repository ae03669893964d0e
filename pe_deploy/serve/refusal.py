"""Why a request gets no answer, as each protocol says it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pe_deploy.errors import InvalidInputError, PredictionError, line_of, printable

Kind = Literal[
    "invalid", "not_found", "method", "too_large", "left", "stopping", "not_ready", "failed"
]

HTTP_STATUS: dict[Kind, int] = {
    "invalid": 400,
    "not_found": 404,
    "method": 405,
    "too_large": 413,
    "left": 400,
    "failed": 500,
    "not_ready": 503,
    "stopping": 503,
}

GRPC_STATUS: dict[Kind, str] = {
    "invalid": "INVALID_ARGUMENT",
    "not_found": "NOT_FOUND",
    "method": "UNIMPLEMENTED",
    "too_large": "RESOURCE_EXHAUSTED",
    "left": "CANCELLED",
    "failed": "INTERNAL",
    "not_ready": "UNAVAILABLE",
    "stopping": "UNAVAILABLE",
}


class Refusal(Exception):  # noqa: N818 (it is an answer, as a status is)
    """A request that gets one line instead of an answer.

    Attributes:
        kind: what is wrong, which decides the status.
        line: the line.
    """

    def __init__(self, kind: Kind, line: str) -> None:
        super().__init__(line)
        self.kind = kind
        self.line = printable(line[:2000])


@contextmanager
def refusing() -> Iterator[None]:
    """Turn what a classifier raises inside the block into a refusal.

    What nobody foresaw is one, too: a server answers, and goes on.

    Raises:
        Refusal: with the line of the error.
    """
    try:
        yield
    except Refusal:
        raise
    except InvalidInputError as error:
        raise Refusal("invalid", str(error)) from error
    except PredictionError as error:
        raise Refusal("failed", str(error)) from error
    except Exception as error:
        line = f"the server fails: {type(error).__name__}: {line_of(error)}"
        raise Refusal("failed", line) from error
