"""HTTPS."""

from __future__ import annotations

import re
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.conftest import run_trivet, serving
from tests.online.asking import ASKED
from trivet.errors import SettingsError
from trivet.online.server import tls_context
from trivet.online.settings import ListenSettings

LOCKED = ["-passout", "pass:a-secret"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key, and what is neither."""
    folder = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made += ["-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1"]
    for name, locked in {"": ["-nodes"], "other-": ["-nodes"], "locked-": LOCKED}.items():
        files = ["-keyout", f"{name}key.pem", "-out", f"{name}cert.pem"]
        subprocess.run([*made, *locked, *files], cwd=folder, capture_output=True, check=True)
    (folder / "text.pem").write_text("no certificate")
    return folder


@pytest.mark.parametrize("workers", ["1", "2"])
def test_https_is_answered(
    flights_store: Path, tmp_path: Path, folder: Path, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "cert.pem"))
    options = ["--model", "flights", "--models-dir", str(flights_store), "--workers", workers]
    options += ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]
    with serving(*options, cwd=tmp_path) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert server.post("/predict", ASKED)[0] == 200
        port = server.url.rpartition(":")[2]
        settings = {"TRIVET_SERVE_PORT": port, "TRIVET_SERVE_TLS_CERT": "cert.pem"}
        assert run_trivet("health", cwd=folder, **settings).returncode == 0
    assert server.process.returncode == 0


def test_old_versions_of_tls_are_refused(folder: Path) -> None:
    settings = ListenSettings(tls_cert=folder / "cert.pem", tls_key=folder / "key.pem")
    assert tls_context(settings).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("cert", "key"),
    [
        ("gone.pem", "key.pem"),
        ("cert.pem", "gone.pem"),
        ("text.pem", "key.pem"),
        ("cert.pem", "text.pem"),
        ("cert.pem", "other-key.pem"),
        ("key.pem", "cert.pem"),
        ("locked-cert.pem", "locked-key.pem"),
        (".", "key.pem"),
    ],
)
def test_files_that_can_not_be_used_are_one_line(folder: Path, cert: str, key: str) -> None:
    settings = ListenSettings(tls_cert=folder / cert, tls_key=folder / key)
    with pytest.raises(SettingsError) as raised:
        tls_context(settings)
    assert re.search(r" can't be used \(.+\); --tls-cert is ", str(raised.value))
    assert len(str(raised.value).splitlines()) == 1


def test_the_service_does_not_start_without_them(flights_store: Path, tmp_path: Path) -> None:
    options = ["--model", "flights", "--models-dir", str(flights_store), "--tls-cert", "gone"]
    alone = run_trivet("serve", *options, cwd=tmp_path)
    both = run_trivet("serve", *options, "--tls-key", "gone", cwd=tmp_path)
    for done, reason in ((alone, "belong together"), (both, "No such file")):
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert reason in done.stderr
