"""Options: three ways in, and which one wins."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest

from tests.conftest import NOVEMBER, OWN_PIPELINE, ROOT, run_trivet, write_csv
from trivet.batch.settings import BatchSettings
from trivet.cli.commands import main
from trivet.cli.settings_file import load_defaults
from trivet.cli.train import literal
from trivet.errors import SettingsError
from trivet.model.store import ModelStore
from trivet.online.settings import ServeSettings
from trivet.train.settings import TrainSettings

#: Options that are called otherwise than their setting, because each use of them adds one.
SINGULAR = {
    "identifiers": "id",
    "kinds": "kind",
    "forms": "form",
    "params": "param",
    "na_values": "na_value",
    "cors_origins": "cors_origin",
}


def commands(group: click.Group, path: str = "trivet") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        yield f"{path} {name}", command


@pytest.mark.parametrize(("path", "command"), list(commands(main)))
def test_every_command_and_option_has_help(path: str, command: click.Command) -> None:
    assert command.help
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, f"{path} {param.opts[0]} has no help"


def test_the_commands_are_the_three_legs_and_the_store() -> None:
    assert {path for path, _ in commands(main)} == {
        *("trivet train", "trivet batch-predict", "trivet serve", "trivet health", "trivet models"),
        *(f"trivet models {name}" for name in ("list", "show", "promote", "rollback")),
        *(f"trivet models {name}" for name in ("history", "keygen", "sign", "verify")),
        *(f"trivet models {name}" for name in ("tag", "untag", "note", "prune")),
    }


@pytest.mark.parametrize(
    ("name", "settings", "required"),
    [
        ("train", TrainSettings, ["--data", "table.csv", "--target", "y"]),
        ("batch-predict", BatchSettings, ["--input", "table.csv", "--output", "out.csv"]),
        ("serve", ServeSettings, []),
    ],
)
def test_the_defaults_of_a_command_are_those_of_its_settings(
    name: str, settings: type[Any], required: list[str]
) -> None:
    options = main.commands[name].make_context(name, required).params
    for field in fields(settings):
        if field.name == "api_keys":  # the option names the file that holds them
            continue
        value = options[SINGULAR.get(field.name, field.name)]
        if field.default is not MISSING:
            assert value == field.default, field.name
        elif field.default_factory is not MISSING:
            assert not value, field.name
            assert not field.default_factory(), field.name


def test_command_line_over_environment_over_file_over_default(tmp_path: Path) -> None:
    def store_in_use(*options: str, **environment: str) -> str:
        result = run_trivet("models", "list", *options, cwd=tmp_path, **environment)
        assert result.returncode == 0
        return result.stdout.split(":")[0]

    assert store_in_use() == "models"
    (tmp_path / "trivet.toml").write_text('models-dir = "from-file"')
    assert store_in_use() == "from-file"
    environment = {"TRIVET_MODELS_LIST_MODELS_DIR": "from-environment"}
    assert store_in_use(**environment) == "from-environment"
    assert store_in_use("--models-dir", "from-command-line", **environment) == "from-command-line"


def defaults(tmp_path: Path, text: str) -> dict[str, Any]:
    (tmp_path / "trivet.toml").write_text(text)
    return load_defaults(tmp_path / "trivet.toml", main, required=True)


def test_a_key_at_the_top_is_for_every_command_that_has_it(tmp_path: Path) -> None:
    text = 'model = "m"\nmodels_dir = "d"\n[serve]\nmodel = "other"\nport = 1'
    found = defaults(tmp_path, text)
    assert found["train"] == {"model": "m", "models_dir": "d"}
    assert found["serve"] == {"model": "other", "models_dir": "d", "port": 1}
    assert found["models"]["list"] == {"models_dir": "d"}
    assert found["models"]["rollback"] == {"model": "m", "models_dir": "d"}


def test_one_value_stands_for_a_list_of_one(tmp_path: Path) -> None:
    assert defaults(tmp_path, '[train]\nid = "flight_id"')["train"] == {"id": ["flight_id"]}


FLIGHTS = """
model = "flights"
models-dir = "models"

[train]
data = "data/flights_train.csv"
target = "late"
id = ["flight_id"]
time-column = "time_hour"
estimator = "hist_gradient_boosting"

[train.params]
learning_rate = 0.1
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with a trivet.toml for the flights, and a table of another kind."""
    (tmp_path / "trivet.toml").write_text(FLIGHTS)
    write_csv(tmp_path / "table.csv", ["x", "y"], [[n % 7, n % 2] for n in range(40)])
    return tmp_path


def test_flags_that_name_a_target_describe_another_table(checkout: Path) -> None:
    result = run_trivet("train", "--data", "table.csv", "--target", "y", cwd=checkout)
    assert result.returncode == 0, result.stderr
    assert "published model " in result.stdout
    assert (checkout / "models/model/current").exists()
    assert result.stderr == (
        "trivet.toml: [train] is not used, because --target describes another table; only "
        "models-dir still applies\n"
    )


@pytest.mark.parametrize(
    "settings", ['models-dir = "models"', '[train]\ndata = "other.csv"\ntarget = "z"']
)
def test_nothing_is_said_where_the_flags_drop_no_setting(checkout: Path, settings: str) -> None:
    (checkout / "trivet.toml").write_text(settings)
    result = run_trivet("train", "--data", "table.csv", "--target", "y", cwd=checkout)
    assert (result.returncode, result.stderr) == (0, "")


def test_data_alone_is_another_table_of_the_same_kind(checkout: Path) -> None:
    table = ROOT / "data/flights_november.csv"
    result = run_trivet("train", "--data", table, cwd=checkout)
    assert (result.returncode, result.stderr) == (0, "")
    assert "published flights " in result.stdout


@pytest.mark.parametrize(
    ("options", "environment"),
    [(["--estimator", "random_forest"], {}), ([], {"TRIVET_TRAIN_ESTIMATOR": "random_forest"})],
)
def test_hyperparameters_of_the_file_are_for_the_estimator_of_the_file(
    checkout: Path, options: list[str], environment: dict[str, str]
) -> None:
    table = ROOT / "data/flights_november.csv"
    result = run_trivet("train", "--data", table, *options, cwd=checkout, **environment)
    assert result.returncode == 0, result.stderr
    assert "published flights " in result.stdout
    assert result.stderr == (
        "trivet.toml: [train.params] is not used, because it is for hist_gradient_boosting, not "
        "for random_forest\n"
    )


def test_estimator_and_hyperparameters_of_the_file_are_for_the_pipeline_of_the_file(
    checkout: Path,
) -> None:
    result = run_trivet(
        "train", "--data", NOVEMBER, "--pipeline", OWN_PIPELINE, "--no-promote", cwd=checkout
    )
    assert result.returncode == 0, result.stderr
    why = f"is not used, because it is for the default pipeline, not for {OWN_PIPELINE}\n"
    assert result.stderr == (
        f"trivet.toml: [train] estimator {why}trivet.toml: [train.params] {why}"
    )


def test_hyperparameters_on_the_command_line_are_for_the_estimator_there(checkout: Path) -> None:
    options = ["--estimator", "random_forest", "--param", "n_estimators=3"]
    table = ROOT / "data/flights_november.csv"
    result = run_trivet("train", "--data", table, *options, cwd=checkout)
    assert (result.returncode, result.stderr) == (0, "")


def test_another_input_does_not_replace_the_output_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "trivet.toml").write_text('[batch-predict]\ninput = "a.csv"\noutput = "p.csv"')
    (tmp_path / "p.csv").write_text("precious")
    result = run_trivet("batch-predict", "--input", "b.csv", cwd=tmp_path)
    assert result.returncode == 2
    assert "Missing option '--output': p.csv is for a.csv, as trivet.toml says." in result.stderr
    result = run_trivet("batch-predict", "--input", "a.csv", cwd=tmp_path)
    assert "no model in this store" in result.stderr


def test_tables_stand_for_pairs(tmp_path: Path) -> None:
    text = (
        '[train]\ntime-column = "t"\n[train.params]\nmax_iter = 3\nloss = "x"\n'
        '[train.kinds]\na = "category"'
    )
    assert defaults(tmp_path, text)["train"] == {
        "time_column": "t",
        "param": ["max_iter=3", 'loss="x"'],
        "kind": ["a=category"],
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("None", None),
        ('"None"', None),
        ("True", True),
        ("False", False),
        ("null", None),
        ("1e-3", 0.001),
        ('{"a": 1}', {"a": 1}),
        ("none", "none"),
    ],
)
def test_a_hyperparameter_is_json_or_a_word_of_python_or_text(text: str, value: object) -> None:
    assert literal(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[serve]\nprot = 1", r"\[serve\] prot is not a setting; did you mean 'port'"),
        ("[serv]\nport = 1", "serv is not a setting; did you mean 'serve'"),
        ("modle = 'm'", "modle is not a setting; did you mean 'model'"),
        ("[models]\nmodels-dir = 'x'", r"\[models\] models-dir is not a setting"),
        ("[models.lst]\nmodel = 'x'", r"\[models\] lst is not a setting; did you mean 'list'"),
        ("[models]\nlist = 1", "list is a section, not a value"),
        ("[serve", "cannot be read as TOML"),
    ],
)
def test_a_wrong_file_of_settings_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        defaults(tmp_path, text)


def test_a_config_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    result = run_trivet("--config", "no.toml", "models", "list", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr == "Error: no.toml: no such file; check --config\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--param", "max_iter"], "write it as NAME=VALUE"),
        (["--kind", "x=numbr"], "a kind is one of number, integer"),
    ],
)
def test_malformed_pairs_are_named(tmp_path: Path, options: list[str], message: str) -> None:
    table = ROOT / "data/flights_november.csv"
    result = run_trivet("train", "--data", table, "--target", "late", *options, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr


def test_the_list_may_be_of_one_model(two_versions: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "trivet.toml").write_text(f'model = "other"\nmodels-dir = "{two_versions.root}"')
    every = run_trivet("models", "list", cwd=tmp_path)
    assert len(every.stdout.splitlines()) == 2, "the model of the settings file is no filter"
    assert run_trivet("models", "list", "--model", "flights", cwd=tmp_path).stdout == every.stdout
    refused = run_trivet("models", "list", "--model", "flight", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "no model 'flight' in this store; did you mean 'flights'?" in refused.stderr
    by_section = 'models-dir = "x"\n[models.list]\nmodel = "m"'
    assert defaults(tmp_path, by_section)["models"]["list"] == {"models_dir": "x", "model": "m"}


@pytest.mark.parametrize(
    "command",
    [
        ("serve", "--model", ""),
        ("serve", "--model-version", ""),
        ("batch-predict", "--input", "t.csv", "--output", "o.csv", "--model-version", ""),
        ("models", "show", ""),
        ("models", "promote", ""),
        ("models", "rollback", "--model", ""),
        ("models", "list", "--model", ""),
        ("train", "--data", "t.csv", "--target", "y", "--model", ""),
    ],
)
def test_an_empty_name_is_refused(flights_store: Path, tmp_path: Path, command: list[str]) -> None:
    write_csv(tmp_path / "t.csv", ["x", "y"], [[n % 7, n % 2] for n in range(40)])
    pointer = (flights_store / "flights/current").read_bytes()
    model = () if "--model" in command else ("--model", "flights")
    result = run_trivet(*command, *model, "--models-dir", flights_store, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: '' can't name a model or version: use letters")
    assert (flights_store / "flights/current").read_bytes() == pointer


def test_rollback_names_what_it_passes_over(two_versions: ModelStore, tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    shutil.copytree(two_versions.root, store.root)
    first, second = store.versions("flights")
    for version in (first, second, first, second):
        store.promote("flights", version)
    (store.root / "flights" / first / "report.md").write_text("edited")
    result = run_trivet("models", "rollback", "--model", "flights", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stdout == f"flights: current is {second}\n"
    assert re.fullmatch(
        f"passed over: models/flights/{first}/report.md: its SHA-256 .*\n", result.stderr
    )


def test_the_history_says_when_which_version_by_what_and_why(
    two_versions: ModelStore, tmp_path: Path
) -> None:
    store = ModelStore(tmp_path / "models")
    shutil.copytree(two_versions.root, store.root)
    first = store.in_use("flights")
    (second,) = set(store.versions("flights")) - {first}
    (store.root / "flights/history.jsonl").unlink()
    run = partial(run_trivet, "models", cwd=tmp_path, TRIVET_MODELS_PROMOTE_MODEL="flights")
    run("promote", second, "--reason", "fewer false\nalarms")
    run("promote", second, "--reason", "is current already")
    run("rollback", "--model", "flights")
    lines = run("history", "--model", "flights").stdout.splitlines()
    time = r"\d{4}-\d\d-\d\d \d\d:\d\dZ"
    assert re.fullmatch(rf"{time}  {second} -> {first}  by hand: rolled back", lines[0])
    assert re.fullmatch(rf"{time}  {first} -> {second}  by hand: fewer false alarms", lines[1])
    assert len(lines) == 2
    refused = run("history", "--model", "flight")
    assert "no model 'flight' in this store; did you mean 'flights'?" in refused.stderr


def test_prune_removes_only_if_told_so(two_versions: ModelStore, tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    shutil.copytree(two_versions.root, store.root)
    kept = store.in_use("flights")
    (other,) = set(store.versions("flights")) - {kept}
    (store.root / "flights/current").write_text(json.dumps({"version": kept}))
    model = ("--model", "flights")
    prune = partial(run_trivet, "models", "prune", "--keep", "0", *model, cwd=tmp_path)
    run_trivet("models", "tag", other, "v1", *model, cwd=tmp_path)
    assert prune().stdout == "flights: nothing to remove\n"
    moved = run_trivet("models", "tag", kept, "v1", *model, cwd=tmp_path).stdout
    assert moved == f"flights: v1 is {kept}, and no longer {other}\n"
    assert run_trivet("models", "untag", "v1", *model, cwd=tmp_path).stdout == (
        f"flights: {kept} is no longer v1\n"
    )
    noted = run_trivet("models", "note", kept, "of May", *model, cwd=tmp_path)
    assert noted.stdout == f"flights: {kept} has the note: of May\n"
    assert prune().stdout == (
        f"would remove flights {other}\nnothing was removed; add --yes to remove them\n"
    )
    assert len(store.versions("flights")) == 2
    assert prune("--yes").stdout == f"removed flights {other}\n"
    assert store.versions("flights") == [kept]


def test_promote_and_rollback_by_command(flights_store: Path, tmp_path: Path) -> None:
    options = ("--model", "flights", "--models-dir", str(flights_store))
    listed = run_trivet("models", "list", "--models-dir", str(flights_store), cwd=tmp_path)
    version = listed.stdout.split()[2]
    promoted = run_trivet("models", "promote", version, *options, cwd=tmp_path)
    assert promoted.stdout == f"flights: current is {version}\n"
    refused = run_trivet("models", "rollback", *options, cwd=tmp_path)
    assert refused.returncode == 1
    assert "no earlier version" in refused.stderr
