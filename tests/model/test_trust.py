"""With a key to verify by, no leg loads what is unsigned, changed, or signed by another key."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import NOVEMBER, ROOT, run_trivet, write_csv
from tests.model.test_artifact import edit_manifest, tamper
from trivet.batch.run import batch_predict
from trivet.batch.settings import BatchSettings
from trivet.batch.work import SealedModel, _load
from trivet.errors import ArtifactError, SettingsError, TrivetError
from trivet.model import keys
from trivet.model.artifact import CODE, GOLDEN, MANIFEST, MODEL, REPORT, Artifact
from trivet.model.code import PipelineFile
from trivet.model.compiled import ARRAYS, SPEC
from trivet.model.predictor import Predictor
from trivet.model.store import ModelStore
from trivet.model.trust import SIGNATURE, Trust
from trivet.online.inference import _loaded
from trivet.online.problems import ProblemError
from trivet.train.run import train
from trivet.train.settings import TrainSettings

FILES = (MODEL, CODE, GOLDEN, REPORT, SPEC, ARRAYS, MANIFEST, SIGNATURE)


@pytest.fixture
def signed(flights: Artifact, tmp_path: Path, key: Path) -> Path:
    """A store with a signed copy of the flights model: the directory of its version."""
    shutil.copytree(flights.path.parent.parent, tmp_path / "models")
    ModelStore(tmp_path / "models").sign("flights", None, keys.Signer(key).sign)
    return tmp_path / "models" / "flights" / flights.path.name


def change(path: Path) -> None:
    """Change a byte in the middle, in a manifest one that means nothing."""
    content = bytearray(path.read_bytes())
    if path.name == MANIFEST:
        content[content.index(b"\n")] = ord(" ")
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)


def seal_again(path: Path) -> None:
    """Put a trap in place of the model, as an intruder would: all digests fit."""
    tamper(path)
    digest = sha256((path / MODEL).read_bytes()).hexdigest()
    edit_manifest(path, lambda it: it["files"].update({MODEL: digest}))
    edit_manifest(path, lambda it: it.update({"not_compiled": "it has to be unpickled"}))


def by_service(path: Path, key: Path) -> str:
    options = ("--model", "flights", "--verify-key", f"{key}.pub")
    return refusal("serve", *options, cwd=path.parent.parent.parent)


def by_batch(path: Path, key: Path) -> str:
    options = ("--model", "flights", "--verify-key", f"{key}.pub")
    tables = ("--input", str(NOVEMBER), "--output", "out.csv")
    return refusal("batch-predict", *options, *tables, cwd=path.parent.parent.parent)


def by_verify(path: Path, key: Path) -> str:
    options = ("--model", "flights", "--verify-key", f"{key}.pub")
    return refusal("models", "verify", *options, cwd=path.parent.parent.parent)


def refusal(*command: str, cwd: Path) -> str:
    """What a command says that ends at once, with code 1 and without output."""
    result = run_trivet(*command, cwd=cwd)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


def by_python(path: Path, key: Path) -> str:
    from trivet.api import load

    with pytest.raises(TrivetError) as raised:
        load("flights", models_dir=path.parent.parent, verify_key=f"{key}.pub")
    return str(raised.value)


def by_batch_worker(path: Path, key: Path) -> str:
    trust = Trust.of(f"{key}.pub")
    with pytest.raises(ArtifactError) as raised:
        _load(SealedModel(path.parent.parent, "flights", path.name, trust))
    return str(raised.value)


def by_cluster_worker(path: Path, key: Path) -> str:
    contents = {each.name: each.read_bytes() for each in path.iterdir()}
    trust = Trust.of(f"{key}.pub")
    with pytest.raises(ArtifactError) as raised:
        _load(SealedModel(Path("elsewhere"), "flights", path.name, trust, contents))
    return str(raised.value)


def by_other_process(path: Path, key: Path) -> str:
    with pytest.raises(ProblemError) as raised:
        _loaded((path.parent.parent, Trust.of(f"{key}.pub"), "flights", path.name))
    return str(raised.value)


Leg = Callable[[Path, Path], str]
IN_PROCESS = [by_python, by_batch_worker, by_cluster_worker, by_other_process]
LEGS = [by_service, by_batch, by_verify, *IN_PROCESS]


@pytest.fixture(autouse=True)
def nothing_is_loaded_yet() -> None:
    _load.cache_clear()
    _loaded.cache_clear()


@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_refused(leg: Leg, name: str, signed: Path, key: Path) -> None:
    change(signed / name)
    assert name in leg(signed, key)


@pytest.mark.parametrize("leg", LEGS)
def test_a_missing_signature_is_refused(leg: Leg, signed: Path, key: Path) -> None:
    (signed / SIGNATURE).unlink()
    assert f"{SIGNATURE}: can't be read (No such file or directory)" in leg(signed, key)


@pytest.mark.parametrize("leg", LEGS)
def test_a_signature_by_another_key_is_refused(leg: Leg, signed: Path, key: Path) -> None:
    keys.generate(other := signed.parent / "other")
    ModelStore(signed.parent.parent).sign("flights", None, keys.Signer(other).sign)
    said = leg(signed, key)
    assert f"{SIGNATURE}: does not sign manifest.json by the key in {key}.pub" in said
    assert f"trivet models sign {signed.name}" in said


@pytest.mark.parametrize("leg", LEGS)
def test_what_an_intruder_sealed_is_not_unpickled(leg: Leg, signed: Path, key: Path) -> None:
    seal_again(signed)
    assert f"{SIGNATURE}: does not sign" in leg(signed, key)
    assert not (signed / "unpickled").exists()


def test_without_a_key_it_is_unpickled(signed: Path) -> None:
    seal_again(signed)
    with pytest.raises(AttributeError):  # what the trap leaves is no pipeline
        Predictor.load(Artifact.open(signed))
    assert (signed / "unpickled").exists()


def test_the_signature_of_another_version_is_refused(
    two_versions: ModelStore, key: Path, tmp_path: Path
) -> None:
    store = ModelStore(tmp_path / "models", Trust.of(f"{key}.pub"))
    shutil.copytree(two_versions.root, store.root)
    first, second = (store.root / "flights" / each for each in store.versions("flights"))
    for each in (first, second):
        ModelStore(store.root).sign("flights", each.name, keys.Signer(key).sign)
        assert store.whole("flights", each.name)
    shutil.copy(first / SIGNATURE, second / SIGNATURE)
    assert not store.whole("flights", second.name)
    shutil.rmtree(second)
    shutil.copytree(first, second)
    with pytest.raises(ArtifactError, match=f"holds version {first.name} of model flights"):
        store.artifact("flights", second.name)


def test_a_signed_version_of_another_model_is_refused(signed: Path, key: Path) -> None:
    store = ModelStore(signed.parent.parent, Trust.of(f"{key}.pub"))
    (store.root / "other").symlink_to(signed.parent)
    with pytest.raises(ArtifactError, match=f"holds version {signed.name} of model flights"):
        store.artifact("other")


def test_a_version_that_was_swapped_after_its_signature_was_checked_is_not_loaded(
    signed: Path, key: Path
) -> None:
    artifact = ModelStore(signed.parent.parent, Trust.of(f"{key}.pub")).artifact("flights")
    seal_again(signed)
    with pytest.raises(ArtifactError, match=f"{MODEL}: its SHA-256 is not the one"):
        Predictor.load(artifact)
    assert not (signed / "unpickled").exists()


def test_what_is_unpickled_is_what_was_checked(
    uncompiled: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copytree(uncompiled.path, tmp_path / "copy")
    run = PipelineFile.load

    def swap_and_run(file: PipelineFile) -> ModuleType:
        seal_again(path)
        return run(file)

    monkeypatch.setattr(PipelineFile, "load", swap_and_run)
    assert Artifact.open(path).load_pipeline()
    assert not (path / "unpickled").exists()


def test_files_that_no_digest_covers_are_never_read(signed: Path, key: Path) -> None:
    for name in ("sklearn.py", "__init__.py", "compiled.npz.bak", "manifest.json~", "pipeline.pth"):
        (signed / name).write_text("raise SystemExit('read')")
    (signed / "pickles").mkdir()
    store = ModelStore(signed.parent.parent, Trust.of(f"{key}.pub"))
    assert Predictor.load(store.artifact("flights"))
    manifest = store.artifact("flights").manifest
    assert {*manifest.files, MANIFEST, SIGNATURE} == set(FILES)


def test_a_signed_model_is_used_by_every_leg(signed: Path, key: Path, tmp_path: Path) -> None:
    store, trust = signed.parent.parent, Trust.of(f"{key}.pub")
    output = tmp_path / "out.csv"
    settings = BatchSettings(NOVEMBER, output, "flights", None, store, f"{key}.pub", no_pickle=True)
    assert batch_predict(settings).predicted == 5000
    assert _loaded((store, trust, "flights", signed.name))
    contents = {each.name: each.read_bytes() for each in signed.iterdir()}
    assert _load(SealedModel(Path("elsewhere"), "flights", signed.name, trust, contents))
    options = ("--model", "flights", "--verify-key", f"{key}.pub")
    verified = run_trivet("models", "verify", *options, cwd=tmp_path)
    assert verified.stdout == f"flights: {signed.name} is as it was signed\n"


def test_another_artifact_of_the_same_name_is_not_resumed_with(
    signed: Path, tmp_path: Path
) -> None:
    store = signed.parent.parent
    settings = BatchSettings(
        NOVEMBER, tmp_path / "out.csv", "flights", models_dir=store, max_rejected=0
    )
    broken = tmp_path / "broken.csv"
    broken.write_text(NOVEMBER.read_text() + "x\n")
    with pytest.raises(TrivetError, match="--resume"):
        batch_predict(replace(settings, input=broken))
    edit_manifest(signed, lambda manifest: manifest.update({"warnings": ["edited"]}))
    with pytest.raises(TrivetError, match="cannot be resumed"):
        batch_predict(replace(settings, input=broken, resume=True, max_rejected=9))


@pytest.mark.parametrize("leg", ["serve", "batch-predict"])
def test_no_pickle_refuses_what_is_not_compiled(
    leg: str, uncompiled: Artifact, tmp_path: Path
) -> None:
    options = ("--model", "flights", "--models-dir", str(uncompiled.path.parent.parent))
    tables = () if leg == "serve" else ("--input", str(NOVEMBER), "--output", "out.csv")
    said = refusal(leg, *options, *tables, "--no-pickle", cwd=tmp_path)
    assert f"{uncompiled.path}: is a pickle alone, which --no-pickle refuses" in said


def small(tmp_path: Path, **options: object) -> TrainSettings:
    table = write_csv(tmp_path / "t.csv", ["x", "y"], [[n % 7, n % 2] for n in range(60)])
    settings = TrainSettings(table, "y", model="small", models_dir=tmp_path / "models")
    return replace(settings, estimator="logistic", **options)  # type: ignore[arg-type]


def test_training_signs(tmp_path: Path, key: Path) -> None:
    made = train(small(tmp_path, sign_key=key))
    again = train(small(tmp_path, sign_key=key))
    assert (made.trained, again.trained) == (True, False)
    assert again.manifest == made.manifest
    store = ModelStore(tmp_path / "models", Trust.of(f"{key}.pub"))
    assert store.whole("small") == made.manifest.version


def test_training_does_not_sign_what_it_only_found(tmp_path: Path, key: Path) -> None:
    found = train(small(tmp_path)).manifest.version
    made = train(small(tmp_path, sign_key=key))
    assert made.manifest.version == made.current == f"{found}-r2"
    assert not (tmp_path / "models/small" / found / SIGNATURE).exists()


def test_a_signature_by_hand_replaces_the_one_before(signed: Path, key: Path) -> None:
    keys.generate(other := signed.parent / "other")
    result = run_trivet(
        *("models", "sign", signed.name, "--model", "flights", "--sign-key", other),
        cwd=signed.parent.parent.parent,
    )
    assert result.stdout == f"flights: {signed.name} is signed\n"
    assert ModelStore(signed.parent.parent, Trust.of(f"{other}.pub")).whole("flights")
    assert not ModelStore(signed.parent.parent, Trust.of(f"{key}.pub")).whole("flights")


def test_what_is_damaged_is_not_signed(signed: Path, key: Path) -> None:
    change(signed / MODEL)
    with pytest.raises(ArtifactError, match=f"{MODEL}: its SHA-256"):
        ModelStore(signed.parent.parent).sign("flights", None, keys.Signer(key).sign)


def test_openssl_makes_keys_and_checks_signatures(signed: Path, tmp_path: Path) -> None:
    private, public = tmp_path / "key.pem", tmp_path / "key.pem.pub"
    make = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(private)]
    subprocess.run(make, check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    ModelStore(signed.parent.parent).sign("flights", None, keys.Signer(private).sign)
    assert ModelStore(signed.parent.parent, Trust.of(public)).whole("flights")
    shown = ["-in", str(signed / MANIFEST), "-sigfile", str(signed / SIGNATURE)]
    check = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", str(public), *shown]
    subprocess.run(check, check=True, capture_output=True)


def test_a_private_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    result = run_trivet("models", "keygen", "trivet.key", cwd=tmp_path)
    assert result.stdout == (
        "trivet.key signs: keep it secret; trivet.key.pub verifies: give it to the legs\n"
    )
    key = tmp_path / "trivet.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.chmod(0o604)
    with pytest.raises(
        SettingsError, match=r"anyone here can use this key; chmod 600 .*trivet\.key"
    ):
        keys.Signer(key)


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    keys.generate(tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(SettingsError, match="key: is there, and no key is replaced"):
        keys.generate(tmp_path / "key")
    (tmp_path / "key").rename(tmp_path / "moved")
    with pytest.raises(SettingsError, match=r"key\.pub: is there"):
        keys.generate(tmp_path / "key")
    assert (tmp_path / "moved").read_bytes() == before
    assert not (tmp_path / "key").exists()


def test_a_file_that_is_not_the_key_it_should_be_is_named(key: Path, tmp_path: Path) -> None:
    locked, rsa = tmp_path / "locked.key", tmp_path / "rsa.key"
    make = ["openssl", "genpkey", "-algorithm"]
    passphrase = ["-aes256", "-pass", "pass:word"]
    subprocess.run([*make, "ed25519", *passphrase, "-out", locked], check=True)
    subprocess.run([*make, "rsa", "-out", rsa], check=True, capture_output=True)
    for path in (Path(f"{key}.pub"), locked, rsa):
        path.chmod(0o600)
        with pytest.raises(SettingsError, match=f"{path}: is no private Ed25519 key in PEM"):
            keys.Signer(path)
    for path in (key, ROOT / "LICENSE"):
        with pytest.raises(SettingsError, match=f"{path}: is no public Ed25519 key in PEM"):
            Trust.of(path)
    with pytest.raises(SettingsError, match="gone: can't be read"):
        Trust.of(tmp_path / "gone")
    with pytest.raises(SettingsError, match="gone: can't be read"):
        train(small(tmp_path, sign_key=tmp_path / "gone"))
