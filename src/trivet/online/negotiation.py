"""What callers accept, and how bodies are compressed, both ways: RFC 9110, 8.4 and 12.5."""

from __future__ import annotations

import asyncio
import gzip
import re
import zlib
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Scope

from trivet.online.problems import ProblemError

Headers = Mapping[bytes, bytes]
Weights = Mapping[str, tuple[float, int]]

#: The key of a request's scope that holds its headers by name.
HEADERS = "trivet.headers"
#: Answers of fewer bytes, those to about 80 rows, are not compressed: that would slow them down.
COMPRESSED_FROM = 8_192
#: The fastest. The default makes a long answer a tenth smaller, and takes 20 times as long.
LEVEL = 1
#: The header of all answers that may be compressed.
ACCEPT_ENCODING = (b"vary", b"accept-encoding")
#: The header of those that are.
GZIPPED = (b"content-encoding", b"gzip")
#: The most parts of a compressed body. Few programs write several; each costs a copy of the rest.
MEMBERS = 100
WEIGHT = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def headers_of(scope: Scope) -> Headers:
    """A request's headers by name, as `joined` makes them, but once."""
    headers: Headers | None = scope.get(HEADERS)
    if headers is None:
        headers = scope[HEADERS] = joined(scope["headers"])
    return headers


def choose(headers: Headers, *offered: str) -> str:
    """The media type for the answer, by default the first one; raises a 406 problem.

    Those of the highest weight in Accept are compared by how closely they are named there, then by
    their order there.
    """
    accept = headers.get(b"accept", b"").decode("latin-1")
    if accept in ("", "*/*"):
        return offered[0]
    if accept in offered:
        return accept
    weights = _weights(accept)

    def rank(media_type: str) -> tuple[float, int, int]:
        return _rank(weights, media_type, f"{media_type.partition('/')[0]}/*", "*/*")

    best = max(offered, key=rank)
    if not rank(best)[0]:
        detail = f"the answer can't be what Accept asks for; choose from {', '.join(offered)}"
        raise ProblemError(HTTPStatus.NOT_ACCEPTABLE, detail, {"Vary": "Accept"})
    return best


def is_compressed(headers: Headers) -> bool:
    """Whether the body is compressed with gzip; raises a 415 problem for any other coding."""
    if (header := headers.get(b"content-encoding")) is None:
        return False
    given = [each.strip() for each in header.decode("latin-1").lower().split(",")]
    codings = [each for each in given if each not in ("", "identity")]
    if codings in ([], ["gzip"], ["x-gzip"]):
        return bool(codings)
    detail = f"the body is encoded as {', '.join(codings)}; send it as it is, or with gzip"
    accepted = {"Accept-Encoding": "gzip, identity"}
    raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, accepted)


def expand(body: bytes | bytearray, most: int) -> bytearray | None:
    """A compressed body as it was; None as soon as it has more bytes than ``most``.

    Raises a 400 problem for a body that is not whole, or not gzip.
    """
    expanded, rest = bytearray(), bytes(body)
    for _ in range(MEMBERS):
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)  # with the header and the sum of gzip
        try:
            expanded += member.decompress(rest, most + 1 - len(expanded))
        except zlib.error:
            raise _broken("it is not gzip, or was changed") from None
        if len(expanded) > most:
            return None
        if not member.eof:
            raise _broken("it ends too early")
        if not (rest := member.unused_data):
            return expanded
    raise _broken(f"it has more than {MEMBERS} parts")


def is_to_be_compressed(body: bytes | memoryview, headers: Headers) -> bool:
    """Whether an answer is not small, and gzip may be sent, and is liked as much as it is."""
    if len(body) < COMPRESSED_FROM:
        return False
    weights = _weights(headers.get(b"accept-encoding", b"").decode("latin-1"))
    gzipped = _rank(weights, "gzip", "x-gzip", "*")[0]
    return gzipped > 0 and gzipped >= _rank(weights, "identity")[0]


def compress(body: bytes | memoryview) -> bytes:
    """A body as gzip."""
    return gzip.compress(body, LEVEL, mtime=0)


async def compressed(response: Response, headers: Headers) -> Response:
    """The response, with its body compressed if that is not small and the caller accepts gzip."""
    response.raw_headers.append(ACCEPT_ENCODING)
    if is_to_be_compressed(response.body, headers):
        # In a thread, so that other requests don't wait for it.
        response.body = await asyncio.to_thread(compress, response.body)
        response.raw_headers.append(GZIPPED)
        response.headers["content-length"] = str(len(response.body))
    return response


def joined(lines: list[tuple[bytes, bytes]]) -> Headers:
    """Headers by name; several lines of one name are one list."""
    headers = dict(lines)
    if len(headers) == len(lines):
        return headers
    values: dict[bytes, list[bytes]] = {}
    for name, value in lines:
        values.setdefault(name, []).append(value)
    return {name: b", ".join(each) for name, each in values.items()}


def _weights(header: str) -> Weights:
    """The weight of each name in a header, and its place, counted down."""
    weights: dict[str, tuple[float, int]] = {}
    for place, each in enumerate(header.lower().split(",")):
        name, *parameters = [part.strip() for part in each.split(";")]
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        if WEIGHT.fullmatch(weight):  # a name whose weight can't be read does not count
            weights.setdefault(name, (float(weight), -place))
    return weights


def _rank(weights: Weights, *names: str) -> tuple[float, int, int]:
    """The weight of the first of these names that has one, how close it is, and its place."""
    for distance, name in enumerate(names):
        if name in weights:
            weight, place = weights[name]
            return weight, -distance, place
    return 0.0, 0, 0


def _broken(reason: str) -> ProblemError:
    detail = f"the body can't be decompressed: {reason}"
    return ProblemError(HTTPStatus.BAD_REQUEST, detail)
