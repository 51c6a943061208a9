"""Keys and signatures: Ed25519, in files as OpenSSL makes and checks them.

A key is a PEM file, a signature 64 bytes:

    openssl pkeyutl -verify -rawin -pubin -inkey KEY.pub -in manifest.json -sigfile manifest.sig
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from trivet.errors import SettingsError
from trivet.model.trust import Trust


def generate(path: Path) -> Path:
    """Make a private key, which its owner alone can read, and beside it the public one: its path.

    Raises `SettingsError`; a key is never replaced.
    """
    key, public = Ed25519PrivateKey.generate(), path.with_name(f"{path.name}.pub")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    shared = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for place in (path, public):
        if place.exists():
            raise SettingsError(f"{place}: is there, and no key is replaced; choose another name")
    try:
        for place, content, mode in ((path, private, 0o600), (public, shared, 0o644)):
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
    except OSError as error:
        raise SettingsError(f"{place}: can't be written ({error.strerror})") from error
    return public


class Signer:
    """The private key in a file; raises `SettingsError` for one that can't be used."""

    def __init__(self, path: Path) -> None:
        key: Ed25519PrivateKey = _read(
            path, Ed25519PrivateKey, lambda pem: load_pem_private_key(pem, password=None)
        )
        #: Signs bytes.
        self.sign = key.sign
        #: Trust in what this key has signed, and in nothing else.
        self.trust = Trust(key.public_key().public_bytes_raw(), str(path))


def read_public(path: Path) -> bytes:
    """The public key in a file, 32 bytes; raises `SettingsError` for one that can't be used."""
    key: Ed25519PublicKey = _read(path, Ed25519PublicKey, load_pem_public_key)
    return key.public_bytes_raw()


def is_signed(public: bytes, signature: bytes, content: bytes) -> bool:
    """Whether a signature is of this content, by the private key of a public one."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _read(path: Path, kind: Any, load: Callable[[bytes], object]) -> Any:
    secret = kind is Ed25519PrivateKey
    try:
        with path.open("rb") as file:
            mode, key = os.fstat(file.fileno()).st_mode, load(file.read())
    except OSError as error:
        raise SettingsError(
            f"{path}: can't be read ({error.strerror}); trivet models keygen makes keys"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm):  # a TypeError: it has a passphrase
        key = None
    if not isinstance(key, kind):
        raise SettingsError(
            f"{path}: is no {'private' if secret else 'public'} Ed25519 key in PEM, or has a "
            "passphrase; trivet models keygen KEY writes one to KEY, and the public one to KEY.pub"
        )
    # Its group may: Kubernetes lets a container read a secret by that alone.
    if secret and mode & 0o007:
        raise SettingsError(f"{path}: anyone here can use this key; chmod 600 {path}")
    return key
