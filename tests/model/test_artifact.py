"""An artifact that was changed, cut short or made elsewhere is refused before it is unpickled."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_trivet, serving
from trivet.errors import ArtifactError
from trivet.model.artifact import (
    CODE,
    GOLDEN,
    MANIFEST,
    MODEL,
    REPORT,
    Artifact,
    Manifest,
    library_versions,
)
from trivet.model.compiled import ARRAYS, SPEC
from trivet.model.predictor import Predictor


@pytest.fixture
def copy(flights: Artifact, tmp_path: Path) -> Path:
    """A store with a copy of the flights model, to be damaged."""
    shutil.copytree(flights.path.parent.parent, tmp_path / "models")
    return tmp_path / "models" / "flights" / flights.path.name


def edit_manifest(path: Path, edit: Callable[[dict[str, Any]], object], seal: bool = True) -> None:
    """Edit the manifest, and seal it again as if it had been written so."""
    fields = json.loads((path / MANIFEST).read_text())
    edit(fields)
    manifest = Manifest.model_validate(fields)
    if seal:
        manifest = manifest.model_copy(update={"seal": manifest.digest()})
    (path / MANIFEST).write_text(manifest.model_dump_json())


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (self.mark,)  # type: ignore[return-value]


def tamper(path: Path) -> None:
    (path / MODEL).write_bytes(pickle.dumps(Trap(path / "unpickled")))


def truncate(path: Path) -> None:
    (path / MODEL).write_bytes((path / MODEL).read_bytes()[:-100])


def remove(path: Path) -> None:
    (path / MODEL).unlink()


def age(path: Path) -> None:
    tamper(path)
    edit_manifest(path, lambda manifest: manifest["libraries"].update({"scikit-learn": "1.2.0"}))


def outdate(path: Path) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps({**manifest, "format": 1}))


def swap_labels(path: Path) -> None:
    edit_manifest(path, swap, seal=False)


def swap(manifest: dict[str, Any]) -> None:
    manifest["contract"]["target"]["labels"].reverse()


def rename(path: Path) -> None:
    edit_manifest(path, lambda manifest: manifest.update({"version": "another"}))


def empty(path: Path) -> None:
    shutil.rmtree(path.parent)


DAMAGES: dict[Callable[[Path], None], str] = {
    tamper: "SHA-256 is not the one in the manifest",
    truncate: "SHA-256 is not the one in the manifest",
    remove: "can't be read",
    age: "trained with scikit-learn 1.2.0",
    outdate: "has format 1, and this version of trivet reads format 3; train the model again",
    swap_labels: "manifest.json: was changed after training",
    rename: "holds version another of model flights",
    empty: "train one first",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("leg", ["serve", "batch-predict"])
def test_a_damaged_model_is_one_clear_line(
    copy: Path, leg: str, damage: Callable[[Path], None]
) -> None:
    damage(copy)
    (copy.parent.parent.parent / "table.csv").write_text("a\n1\n")
    files = ["--input", "table.csv", "--output", "out.csv"] if leg == "batch-predict" else []
    options = ["--model", "flights", *files]
    result = run_trivet(leg, *options, cwd=copy.parent.parent.parent)
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert DAMAGES[damage] in line
    assert not (copy / "unpickled").exists()


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "unpickled")))  # noqa: S301
    assert (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("name", [MODEL, CODE, GOLDEN, REPORT, SPEC, ARRAYS])
def test_every_file_is_sealed(copy: Path, name: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes() + b" ")
    with pytest.raises(ArtifactError, match=f"{name}: its SHA-256"):
        Predictor.load(Artifact.open(copy))


def test_the_fix_for_another_scikit_learn_is_named(copy: Path) -> None:
    age(copy)
    with pytest.raises(
        ArtifactError, match=r"pip install scikit-learn==1\.2\.0, or train again here"
    ):
        Artifact.open(copy).verify()


@pytest.mark.parametrize(("library", "version"), [("python", "3.2.1"), ("numpy", "1.26.0")])
def test_python_and_numpy_are_compared_too(copy: Path, library: str, version: str) -> None:
    edit_manifest(copy, lambda manifest: manifest["libraries"].update({library: version}))
    with pytest.raises(ArtifactError, match=f"trained with {library} {version}"):
        Artifact.open(copy).verify()


def test_a_patch_release_is_no_reason_to_refuse(copy: Path) -> None:
    def other_patch(manifest: dict[str, Any]) -> None:
        release = manifest["libraries"]["scikit-learn"].rpartition(".")[0]
        manifest["libraries"]["scikit-learn"] = f"{release}.99"

    edit_manifest(copy, other_patch)
    assert Predictor.load(Artifact.open(copy))


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"format": 3}', '"\xff"'])
def test_a_broken_manifest_is_named(copy: Path, content: str) -> None:
    (copy / MANIFEST).write_text(content, encoding="latin-1")
    with pytest.raises(ArtifactError, match=r"not a manifest .*train the model again"):
        Artifact.open(copy)


@pytest.mark.parametrize("name", ["../a", "a/b", "/etc/hosts", "..", ".lock", "", "a\n"])
def test_a_manifest_that_names_what_is_not_a_file_beside_it_is_refused(
    copy: Path, name: str
) -> None:
    """A cluster's workers write the files of a model to a folder, by these names."""
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["files"][name] = "0"
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"not a manifest \(files"):
        Artifact.open(copy)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_manifest_of_another_format_is_named(copy: Path, number: int) -> None:
    (copy / MANIFEST).write_text(json.dumps({"format": number}))
    with pytest.raises(ArtifactError, match=f"has format {number}, and .* reads format 3; train"):
        Artifact.open(copy)


def test_a_manifest_that_is_laid_out_anew_keeps_its_seal(copy: Path) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(dict(sorted(manifest.items())), indent=4))
    assert Artifact.open(copy).manifest == Manifest.model_validate(manifest)


@pytest.mark.parametrize(
    "value", [0.1 + 0.2, 1e22, 5e-324, -0.0, 1.0, 2**70, 1.7976931348623157e308, "a\u2028é", None]
)
def test_a_seal_outlives_writing_and_reading(flights: Artifact, value: Any) -> None:
    manifest = flights.manifest.model_copy(update={"settings": {"value": value}})
    read = Manifest.model_validate_json(manifest.model_dump_json(indent=1))
    assert read.digest() == manifest.digest()


def test_golden_rows_that_give_other_answers_are_refused(
    predictor: Predictor, flights: Artifact
) -> None:
    golden = flights.golden_rows()
    wrong = [[share + 1e-6 for share in answer] for answer in golden.answers]
    predictor.replay(golden)
    with pytest.raises(ArtifactError, match="golden row 0"):
        predictor.replay(golden.model_copy(update={"answers": wrong}))


def test_labels_in_another_order_do_not_give_the_golden_answers(copy: Path) -> None:
    edit_manifest(copy, swap)
    with pytest.raises(ArtifactError, match=r"are \(True, False\), but were \(False, True\)"):
        Predictor.load(Artifact.open(copy))


def test_golden_rows_hold_missing_and_unseen_values(flights: Artifact) -> None:
    golden = flights.golden_rows()
    categories = {
        column.name: set(column.categories) for column in flights.manifest.contract.columns
    }
    assert any(record["wind_gust"] is None for record in golden.records)
    assert any(record["carrier"] not in categories["carrier"] for record in golden.records)
    assert len(golden.records) == len(golden.answers) >= 20


def test_a_service_whose_model_breaks_later_keeps_answering(copy: Path) -> None:
    with serving("--model", "flights", cwd=copy.parent.parent.parent) as server:
        truncate(copy)
        assert server.get("/health/ready")[0] == 200


@pytest.mark.parametrize(
    ("estimator", "library"),
    [("yaml.Forest", {"PyYAML"}), ("sklearn.svm.SVC", set()), ("absent.Forest", set())],
)
def test_the_package_of_an_estimator_is_named_as_it_is_installed(
    estimator: str, library: set[str]
) -> None:
    assert library_versions(estimator).keys() - library_versions().keys() == library
