"""API keys: the file that holds them, and the check of a caller's."""

from __future__ import annotations

import asyncio
import logging
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

from trivet.errors import SettingsError
from trivet.online.settings import KEY, ServeSettings

logger = logging.getLogger("trivet.online")

#: A key, after a name if it has one. A key alone has no colon: a space may be forgotten after one.
LINE = re.compile(rb"(?:([A-Za-z][\w.@-]{0,39}):[ \t]+|(?!.*:))(%b)" % KEY.pattern)
#: The name of all keys that were given none.
UNNAMED = "unnamed"
#: Seconds between two looks at the file.
READ_EVERY = 1.0


class Keys:
    """The keys that callers may use, by name; those of the file at ``path`` change as it does."""

    def __init__(self, settings: ServeSettings) -> None:
        self.path = settings.api_key_file
        self._fixed = dict.fromkeys(settings.api_keys, UNNAMED)
        self._known, self._trouble = self._read(), ""

    def __bool__(self) -> bool:
        """Whether callers need a key."""
        return bool(self._known)

    def admit(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The name of the key in a request's headers; None if there is none that is known."""
        given = [sha256(key.strip()).digest() for key in _given(headers)]
        # Compare with every key, each in constant time, so that timing reveals nothing.
        names = [
            name
            for known, name in self._known.items()
            for digest in given
            if compare_digest(digest, known)
        ]
        return names[0] if names else None

    async def follow(self) -> None:
        """Look for changes of the file, until cancelled: its content, wherever its links lead."""
        while self.path is not None:
            await asyncio.sleep(READ_EVERY)
            await asyncio.to_thread(self.catch_up)

    def catch_up(self) -> None:
        """Take the keys that the file has now; if it can't be used, the keys before it stay."""
        try:
            known, self._trouble = self._read(), ""
        except SettingsError as error:
            if str(error) != self._trouble:
                logger.error("%s; until then the keys before it are used", error)
            self._trouble = str(error)
        else:
            if known != self._known:
                logger.info("the keys have changed: %d are known now", len(known))
            self._known = known

    def _read(self) -> dict[bytes, str]:
        """The names of all keys, by digest."""
        of_file = {} if self.path is None else read_keys(Path(self.path))
        return {sha256(key).digest(): name for key, name in (self._fixed | of_file).items()}


def read_keys(path: Path) -> dict[bytes, str]:
    """The keys in a file, with their names; raises `SettingsError` if they can't be used.

    No error shows a line, as that may hold a key.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SettingsError(
            f"{path}: can't be read ({error.strerror}); check --api-key-file"
        ) from error
    keys = {}
    for number, line in enumerate(map(bytes.strip, lines), 1):
        if not line or line.startswith(b"#"):
            continue
        if not (found := LINE.fullmatch(line)):
            raise SettingsError(
                f"{path}: line {number} can't be read: write KEY or NAME: KEY, where a key has 16 "
                "or more characters, all ASCII: openssl rand -hex 32"
            )
        keys[found[2]] = (found[1] or UNNAMED.encode()).decode()
    if not keys:
        raise SettingsError(f"{path}: holds no key; write one a line, as KEY or NAME: KEY")
    return keys


def _given(headers: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """What may be a key: a platform's own Authorization may stand beside X-API-Key."""
    yield headers.get(b"x-api-key", b"")
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        yield credentials
    elif scheme.lower() == b"basic":  # as a browser sends what its user enters: NAME:PASSWORD
        with suppress(ValueError):
            yield b64decode(credentials).partition(b":")[2]
