"""What a version must have to be loaded: a signature, a form without a pickle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trivet.errors import ArtifactError

SIGNATURE = "manifest.sig"


@dataclass(frozen=True)
class Trust:
    """What is asked of a version before it is loaded; by default, nothing.

    ``key`` is the public key in ``file``: the manifest must be signed by it, and its digests cover
    all other files. Other processes get its bytes along with their work, and need not read the
    file. ``no_pickle`` asks for a compiled form.
    """

    key: bytes | None = None
    file: str = ""
    no_pickle: bool = False

    @classmethod
    def of(cls, verify_key: str | Path | None, no_pickle: bool = False) -> Trust:
        """The trust that settings ask for; raises `SettingsError` for a key that can't be used."""
        if verify_key is None:
            return cls(no_pickle=no_pickle)
        from trivet.model import keys  # an extra: whoever asks for no signature does without

        return cls(keys.read_public(Path(verify_key)), str(verify_key), no_pickle)

    def check_signature(self, path: Path, manifest: bytes) -> None:
        """Raise `ArtifactError` unless these bytes, of the version at ``path``, are signed."""
        if self.key is None:
            return
        from trivet.model import keys

        sign = f"if you trust this version, sign it: trivet models sign {path.name}"
        try:
            signature = (path / SIGNATURE).read_bytes()
        except OSError as error:
            raise ArtifactError(
                f"{path / SIGNATURE}: can't be read ({error.strerror}): the version is not signed, "
                f"so it is not used; {sign}"
            ) from error
        if not keys.is_signed(self.key, signature, manifest):
            raise ArtifactError(
                f"{path / SIGNATURE}: does not sign manifest.json by the key in {self.file}: one "
                f"of the two was changed, or another key has signed, so it is not used; {sign}"
            )

    def check_form(self, path: Path, not_compiled: str | None) -> None:
        """Raise `ArtifactError` if the version at ``path`` is a pickle alone, and none may be."""
        if self.no_pickle and not_compiled is not None:
            raise ArtifactError(
                f"{path}: is a pickle alone, which --no-pickle refuses: it was not compiled "
                f"({not_compiled}); promote a compiled version, or train one"
            )


#: Trust in any version.
ANYTHING = Trust()
