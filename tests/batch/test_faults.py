"""Batches that are killed, run out of disk space or meet another: nothing is lost."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import NOVEMBER, wait_until
from trivet.batch.parts import Part
from trivet.batch.run import batch_predict
from trivet.batch.settings import BatchSettings
from trivet.batch.tally import PartResult
from trivet.batch.work import Job, predict_part
from trivet.errors import BatchError, TableError

#: The command, with parts so small that a short table has many, and workers for it.
COMMAND = (
    "import signal; from trivet.rows.readers import text; text.SPAN_BYTES = 20_000\n"
    "from trivet.batch import fork_server; fork_server.ONE_WORKER = 0\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by jobs of some shells\n"
    "from trivet.cli.commands import main; main()"
)
#: Put in its place: workers are started one by one, as for `trivet.api`.
NO_SERVER = ("fork_server.ONE_WORKER = 0", "fork_server.ONE_WORKER = 2**40")
#: Put before it: after a few parts, predict nothing as long as a file is there.
HOLD = """
import itertools, pathlib, time
from trivet.model.predictor import Predictor
predict, calls = Predictor.predict, itertools.count()
def predict_unless_held(*arguments):
    held = next(calls) > 9
    while held and pathlib.Path({hold!r}).exists():
        time.sleep(0.01)
    return predict(*arguments)
Predictor.predict = predict_unless_held
"""


@pytest.fixture
def settings(flights_store: Path, tmp_path: Path) -> BatchSettings:
    header, *rows = NOVEMBER.read_text().splitlines(keepends=True)
    (tmp_path / "table.csv").write_text(header + "".join(rows) * 4)
    output = str(tmp_path / "out.csv")
    return BatchSettings(str(tmp_path / "table.csv"), output, "flights", models_dir=flights_store)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trivet.rows.readers.text.SPAN_BYTES", 20_000)


def command(settings: BatchSettings, *options: str) -> list[str]:
    return [
        *(sys.executable, "-c", COMMAND, "batch-predict", "--input", str(settings.input)),
        *("--output", str(settings.output), "--model", "flights"),
        *("--models-dir", str(settings.models_dir), *options),
    ]


def run(settings: BatchSettings, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(settings, *options), capture_output=True, text=True, check=False)


@contextmanager
def started(
    settings: BatchSettings, *options: str, hold: Path | None = None, server: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """A run in a process group of its own, of which nothing is left at the end.

    With ``hold``, it stands still after a few parts, until that file is removed.
    Without a ``server``, its workers are not forked.
    """
    python, flag, code, *rest = command(settings, *options)
    code = code if server else code.replace(*NO_SERVER)
    if hold:
        hold.touch()
        code = HOLD.format(hold=str(hold)) + code
        rest += ["--workers", "1"]  # predicts in the process that holds
    process = subprocess.Popen(
        [python, flag, code, *rest],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        wait_until(lambda: not group(process.pid))


def group(leader: int) -> list[int]:
    """The processes of a session, but for zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in group(process.pid)}
    forked = {pid for pid, line in lines.items() if "forkserver" in line}
    started = {pid for pid, line in lines.items() if "loky" in line and "tracker" not in line}
    return [*(pid for pid in forked if parent(pid) != process.pid), *started]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def undisturbed(settings: BatchSettings) -> dict[str, bytes]:
    """The files of a run that nobody touched."""
    output = str(settings.output).replace("/out.", "/whole.")
    batch_predict(replace(settings, output=output))
    return content(Path(output))


def content(output: Path) -> dict[str, bytes]:
    files = sorted(output.iterdir()) if output.is_dir() else [output]
    return {
        path.name.removeprefix("whole").removeprefix("out"): path.read_bytes() for path in files
    }


def parts_done(settings: BatchSettings) -> int:
    output = Path(settings.output)
    return len(list((output.parent / f".{output.name}.run").glob("part-*.json")))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.parts/"])
def test_a_run_killed_at_random_goes_on_to_the_same_bytes(
    settings: BatchSettings, small_parts: None, tmp_path: Path, name: str
) -> None:
    settings = replace(settings, output=f"{tmp_path}/{name}")
    expected = undisturbed(settings)
    chance, kills, output = random.Random(name), 0, Path(settings.output)  # noqa: S311 - no secret
    while kills < 7:
        with started(settings, "--resume") as process:
            before = parts_done(settings)
            while parts_done(settings) == before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.1))
            process.kill()
        kills += process.wait() != 0
        if output.exists():  # it was done before it was killed: another one
            assert content(output) == expected
            shutil.rmtree(output) if output.is_dir() else output.unlink()
    assert run(settings, "--resume").returncode == 0
    assert content(output) == expected
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("server", [True, False])
def test_a_worker_that_is_killed_is_replaced(
    settings: BatchSettings, small_parts: None, server: bool
) -> None:
    expected = undisturbed(settings)
    with started(settings, "--workers", "2", server=server) as process:
        wait_until(lambda: parts_done(settings) > 2)
        os.kill(workers_of(process)[0], signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    [line] = [line for line in said.splitlines() if not line.endswith(" s left")]
    assert re.fullmatch(
        r"a worker process was killed at part \d+, as happens when memory runs out; trying again",
        line,
    )
    assert content(Path(settings.output)) == expected


@pytest.mark.slow
def test_a_run_goes_on_when_the_server_of_its_workers_is_killed(
    settings: BatchSettings, small_parts: None
) -> None:
    expected = undisturbed(settings)
    with started(settings, "--workers", "2") as process:
        wait_until(lambda: parts_done(settings) > 2)
        os.kill(parent(workers_of(process)[0]), signal.SIGKILL)
        assert process.wait(60) == 0
    assert content(Path(settings.output)) == expected


@pytest.mark.slow
def test_workers_get_one_thread_each(settings: BatchSettings, small_parts: None) -> None:
    """Several processes with a thread per processor would be in each other's way."""
    with started(settings, "--workers", "2") as process:
        wait_until(lambda: parts_done(settings) > 2)
        variables = [Path(f"/proc/{pid}/environ").read_bytes() for pid in workers_of(process)]
    assert len(variables) == 2
    assert all(b"OMP_NUM_THREADS=1\0" in each for each in variables)


@pytest.mark.slow
def test_the_server_of_the_workers_has_one_thread(
    settings: BatchSettings, small_parts: None
) -> None:
    """A fork would copy the locks of others, but not the threads that release them."""
    with started(settings, "--workers", "2") as process:
        wait_until(lambda: parts_done(settings) > 2)
        server = parent(workers_of(process)[0])
        assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1


@pytest.mark.slow
def test_ctrl_c_is_left_to_the_run_by_its_workers(
    settings: BatchSettings, small_parts: None
) -> None:
    """A terminal sends it to all of them."""
    with started(settings, "--workers", "2", "--chunk-rows", "1") as process:
        wait_until(lambda: parts_done(settings) > 2)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.count("\n") == 1, said


@pytest.mark.slow
@pytest.mark.parametrize("server", [True, False])
def test_a_run_waits_for_the_workers_of_a_killed_one(
    settings: BatchSettings, small_parts: None, tmp_path: Path, server: bool
) -> None:
    """They might still write into the folder that is to be published."""
    settings = replace(settings, output=f"{tmp_path}/out.parts/")
    expected = undisturbed(settings)
    with started(settings, "--workers", "2", server=server) as killed:
        wait_until(lambda: parts_done(settings) > 2)
        workers = workers_of(killed)
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        killed.kill()
        try:
            with started(settings, "--resume") as process:
                waiting = re.compile(rf"-> FLOCK .* {process.pid} ")
                wait_until(lambda: bool(waiting.search(Path("/proc/locks").read_text())))
                for worker in workers:
                    os.kill(worker, signal.SIGCONT)
                assert process.wait(60) == 0
        finally:
            for worker in set(workers) & set(group(killed.pid)):
                os.kill(worker, signal.SIGCONT)
    assert content(tmp_path / "out.parts") == expected


def test_an_input_that_vanishes_is_named(settings: BatchSettings, small_parts: None) -> None:
    def remove(*_: int) -> None:
        Path(settings.input).unlink(missing_ok=True)

    with pytest.raises(TableError, match=r"table\.csv: (changed while|can't be read)"):
        batch_predict(settings, remove)


def test_an_input_that_vanishes_once_it_is_read_is_named(
    settings: BatchSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish_late(*_: object) -> list[PartResult]:
        Path(settings.input).unlink()
        return []

    monkeypatch.setattr("trivet.batch.run.join_shards", publish_late)
    with pytest.raises(TableError, match=r"table\.csv: changed while it was read"):
        batch_predict(settings)


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_ends_a_run_quietly(settings: BatchSettings) -> None:
    settings = replace(settings, output="-")
    with started(settings, "--workers", "2") as process:
        assert process.stdout
        assert process.stdout.readline().startswith("flight_id,")
        process.stdout.close()
        assert process.wait(60) == 128 + signal.SIGPIPE
        assert process.stderr
        assert process.stderr.read() == ""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_no_output(
    settings: BatchSettings, small_parts: None, tmp_path: Path, number: signal.Signals
) -> None:
    with started(settings, hold=tmp_path / "hold") as process:
        wait_until(lambda: parts_done(settings) > 2)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == (
        f"Error: {settings.output}: stopped before all was predicted, so it is not written; "
        "continue with --resume\n"
    )
    assert not Path(settings.output).exists()
    assert run(settings, "--resume").returncode == 0
    assert content(Path(settings.output)) == undisturbed(settings)


@pytest.mark.slow
def test_a_second_run_to_the_same_output_says_so_and_stops(
    settings: BatchSettings, small_parts: None, tmp_path: Path
) -> None:
    with started(settings, hold=tmp_path / "hold") as process:
        wait_until(lambda: parts_done(settings) > 1)
        with pytest.raises(BatchError, match=r"out\.csv: another run is writing it"):
            batch_predict(settings)
        (tmp_path / "hold").unlink()
        assert process.wait(60) == 0
    assert content(Path(settings.output)) == undisturbed(settings)


@pytest.fixture
def interrupted(settings: BatchSettings, small_parts: None, tmp_path: Path) -> BatchSettings:
    """A run that was killed after a few parts."""
    return killed_after_a_few_parts(settings, tmp_path / "hold")


def killed_after_a_few_parts(settings: BatchSettings, hold: Path) -> BatchSettings:
    with started(settings, hold=hold) as process:
        wait_until(lambda: parts_done(settings) > 2)
        process.kill()
    return settings


def test_a_shard_that_a_killed_run_had_half_written_is_not_published(
    settings: BatchSettings, small_parts: None, tmp_path: Path
) -> None:
    settings = replace(settings, output=f"{tmp_path}/out.parts/")
    killed_after_a_few_parts(settings, tmp_path / "hold")
    (tmp_path / ".out.parts.run/output/.part-00009.parquet.123").write_bytes(b"PAR1")
    batch_predict(replace(settings, resume=True))
    assert content(tmp_path / "out.parts") == undisturbed(settings)


def test_without_resume_a_run_starts_over(interrupted: BatchSettings) -> None:
    batch_predict(interrupted)
    assert content(Path(interrupted.output)) == undisturbed(interrupted)


def test_damaged_parts_are_done_again(interrupted: BatchSettings) -> None:
    output = Path(interrupted.output)
    staging = output.parent / f".{output.name}.run"
    first, second = sorted(staging.glob("part-*.json"))[:2]
    first.write_text("{")
    shard = staging / "output" / f"{second.stem}.csv"
    shard.write_bytes(shard.read_bytes()[:-10])
    summary = batch_predict(replace(interrupted, resume=True))
    assert content(output) == undisturbed(interrupted)
    assert summary.rows == summary.predicted == 20_000
    fresh = summary.rows_per_second * summary.seconds  # parts that were done don't count as pace
    assert 0 < fresh < summary.rows - 50


def test_a_part_that_is_given_out_again_is_not_taken_for_one_of_a_previous_run(
    settings: BatchSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker was lost between writing the result and handing it over."""

    def twice(job: Job, parts: Callable[[], Iterable[Part]], *_: object) -> Iterator[PartResult]:
        for part in parts():
            predict_part(job, part)
            yield predict_part(job, part)

    monkeypatch.setattr("trivet.batch.run.fan_out", twice)
    assert batch_predict(settings).rows_per_second > 0


def test_progress_is_that_of_what_is_left_to_do(interrupted: BatchSettings) -> None:
    states: list[tuple[int, int, int]] = []
    batch_predict(replace(interrupted, resume=True), lambda *state: states.append(state))
    assert states[0] == (0, 0, Path(interrupted.input).stat().st_size)
    rows, done, total = states[-1]
    assert 0 < rows < 20_000
    assert 0 < done == total < states[0][2]


def change_input(settings: BatchSettings) -> BatchSettings:
    with Path(settings.input).open("a") as table:
        table.write(NOVEMBER.read_text().splitlines()[1] + "\n")
    return settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_input, "the input has changed since"),
        (lambda settings: replace(settings, columns=("flight_id",)), "its options were"),
    ],
)
def test_resume_refuses_another_plan(
    interrupted: BatchSettings, change: Callable[[BatchSettings], BatchSettings], message: str
) -> None:
    done = parts_done(interrupted)
    with pytest.raises(BatchError, match=message):
        batch_predict(change(replace(interrupted, resume=True)))
    assert parts_done(interrupted) == done


def test_resume_refuses_parts_that_were_cut_by_other_sizes(
    interrupted: BatchSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a run before an update of Trivet: what is done would not be what is left out."""
    monkeypatch.setattr("trivet.rows.readers.text.SPAN_BYTES", 30_000)
    with pytest.raises(BatchError, match="its options were"):
        batch_predict(replace(interrupted, resume=True))


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_loses_nothing(
    settings: BatchSettings, small_disk: Path
) -> None:
    expected = undisturbed(settings)
    settings = replace(settings, output=str(small_disk / "out.csv"))
    Path(settings.output).write_text("yesterday's")
    failed = run(settings)
    assert failed.returncode == 1
    [line] = [line for line in failed.stderr.splitlines() if line.startswith("Error")]
    assert re.search(r"out\.csv: can't be written \(No space left on device\); make room", line)
    assert "Traceback" not in failed.stderr
    assert Path(settings.output).read_text() == "yesterday's"
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert run(settings, "--resume").returncode == 0
    assert content(Path(settings.output)) == expected


def test_a_disk_full_to_the_last_byte_is_expected_trouble_too(
    settings: BatchSettings, small_disk: Path
) -> None:
    def fill(rows: int, done: int, total: int) -> None:
        with suppress(OSError):
            (small_disk / "other").write_bytes(bytes(2**20))

    settings = replace(settings, output=str(small_disk / "out.csv"))
    with pytest.raises(TableError, match=r"out\.csv: can't be written \(No space left on device\)"):
        batch_predict(settings, fill)


def test_a_folder_that_may_not_be_written_is_named(
    settings: BatchSettings, small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    failed = run(replace(settings, output=str(small_disk / "out.csv")))
    assert failed.returncode == 1
    assert "out.csv: can't be written (Read-only file system)" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.parts/"])
def test_an_object_store_is_read_and_written(
    settings: BatchSettings, bucket: str, small_parts: None, name: str, tmp_path: Path
) -> None:
    import s3fs

    store = s3fs.S3FileSystem()
    store.put(settings.input, f"{bucket}/in/table.csv")
    local = replace(settings, output=f"{tmp_path}/{name}")
    expected = undisturbed(local)
    remote = replace(settings, input=f"{bucket}/in/", output=f"{bucket}/predictions/{name}")
    for turn in ("first", "second"):  # in place of the first
        done = run(remote)
        assert done.returncode == 0, done.stderr
        store.invalidate_cache()
        store.get(str(remote.output).rstrip("/"), f"{tmp_path}/{turn}", recursive=True)
        got = content(tmp_path / turn)
        assert list(got.values()) == list(expected.values())
    left = [path for path in store.find("flights/predictions") if ".run" in path]
    assert left == []
    summary = json.loads(store.cat(f"{str(remote.output).rstrip('/')}.summary.json"))
    assert summary["predicted"] == 20_000
