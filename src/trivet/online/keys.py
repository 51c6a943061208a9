"""API keys: the file that holds them, and the check of a caller's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

from trivet.errors import SettingsError
from trivet.online.settings import KEY


class Keys:
    """The keys that callers may use."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._digests = [sha256(key).digest() for key in keys]

    def admit(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request with these headers brings one of the keys."""
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            key = headers.get(b"x-api-key", b"")
        given = sha256(key.strip()).digest()
        # Compare with every key, each in constant time, so that timing reveals nothing.
        return sum([compare_digest(given, known) for known in self._digests]) > 0


def read_keys(path: Path) -> tuple[bytes, ...]:
    """The keys in a file, one a line; raises `SettingsError` if none can be used."""
    try:
        keys = path.read_bytes().split()
    except OSError as error:
        raise SettingsError(
            f"{path}: can't be read ({error.strerror}); check --api-key-file"
        ) from error
    if not keys:
        raise SettingsError(f"{path}: holds no key; write one key a line")
    if bad := [key for key in keys if not KEY.fullmatch(key)]:
        raise SettingsError(
            f"{path}: a key has {len(bad[0])} characters; use 16 or more, all ASCII: "
            "openssl rand -hex 32"
        )
    return tuple(keys)
