"""The pictures of the docs: small, and readable without being seen."""

from __future__ import annotations

import struct
from xml.etree import ElementTree

from tests.conftest import ROOT

SVG = "{http://www.w3.org/2000/svg}"


def test_the_diagram_is_small_and_has_a_title_and_a_description() -> None:
    content = (ROOT / "docs/legs.svg").read_bytes()
    assert len(content) < 6_000
    picture = ElementTree.fromstring(content)  # noqa: S314 - our own file
    assert [picture.findtext(f"{SVG}{name}") for name in ("title", "desc")].count(None) == 0
    assert picture.get("aria-labelledby") == "title desc"


def test_the_diagram_names_the_commands_and_dockerfiles_that_are_there() -> None:
    picture = ElementTree.fromstring((ROOT / "docs/legs.svg").read_bytes())  # noqa: S314
    texts = {"".join(text.itertext()) for text in picture.iter(SVG + "text")}
    for command in ("train", "batch-predict", "serve"):
        assert f"trivet {command}" in texts
    dockerfiles = {text for text in texts if text.startswith("Dockerfile.")}
    assert len(dockerfiles) == 3
    assert all((ROOT / name).is_file() for name in dockerfiles)


def test_the_picture_of_the_page_is_small() -> None:
    content = (ROOT / "docs/docs-page.png").read_bytes()
    assert len(content) < 200_000
    width, _ = struct.unpack(">II", content[16:24])  # as the PNG header holds them
    assert width == 1280
