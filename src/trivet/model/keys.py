"""Keys and signatures: Ed25519, in files as OpenSSL makes and checks them.

A key is a PEM file, a signature 64 bytes:

    openssl pkeyutl -verify -rawin -pubin -inkey KEY.pub -in manifest.json -sigfile manifest.sig
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

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
    for place in (path, public):
        if place.exists():
            raise SettingsError(f"{place}: is there, and no key is replaced; choose another name")
    try:
        for place, content, mode in ((path, private, 0o600), (public, _public(key), 0o644)):
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
    except OSError as error:
        raise SettingsError(f"{place}: can't be written ({error.strerror})") from error
    return public


class Signer:
    """The private key in a file; raises `SettingsError` for one that can't be used."""

    def __init__(self, path: Path) -> None:
        try:
            key = load_pem_private_key(_read(path, secret=True), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # a TypeError: it has a passphrase
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingsError(
                f"{path}: is no private Ed25519 key in PEM, or has a passphrase; "
                "trivet models keygen makes keys"
            )
        #: Signs bytes.
        self.sign = key.sign
        #: Trust in what this key has signed, and in nothing else.
        self.trust = Trust(_public(key).decode(), str(path))


def read_public(path: Path) -> str:
    """The public key in a file, in PEM; raises `SettingsError` for one that can't be used."""
    content = _read(path)
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(
            f"{path}: is no public Ed25519 key in PEM; trivet models keygen KEY writes it to "
            "KEY.pub"
        )
    return content.decode()


def is_signed(public: str, signature: bytes, content: bytes) -> bool:
    """Whether a signature is of this content, by the private key of a public one in PEM."""
    key = load_pem_public_key(public.encode())
    try:
        cast(Ed25519PublicKey, key).verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _read(path: Path, secret: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            # Its group may: Kubernetes lets a container read a secret by that alone.
            if secret and os.fstat(file.fileno()).st_mode & 0o007:
                raise SettingsError(f"{path}: anyone here can use this key; chmod 600 {path}")
            return file.read()
    except OSError as error:
        raise SettingsError(
            f"{path}: can't be read ({error.strerror}); trivet models keygen makes keys"
        ) from error
