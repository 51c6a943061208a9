"""The README says how many lines there are to read."""

from __future__ import annotations

import ast
import io
import re
import tokenize

import pytest

from tests.conftest import ROOT

#: What is read in an afternoon: all that someone who copies the project must know.
MUST_KNOW = ("cli/*", "rows/contract", "model/store", "model/artifact", "train/**/*", "pipeline")
NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}


def test_the_lines_to_read_in_an_afternoon_are_as_many_as_the_readme_says() -> None:
    (said,) = re.findall(r"\babout\s+([\d,]+)\s+lines\b", (ROOT / "README.md").read_text())
    paths = {path for name in MUST_KNOW for path in (ROOT / "src/trivet").glob(f"{name}.py")}
    lines = sum(code_lines(path.read_text()) for path in paths)
    assert int(said.replace(",", "")) == pytest.approx(lines, rel=0.05)


def test_blanks_comments_and_docstrings_are_not_counted() -> None:
    module = '"""What\n\nit is."""\n\n# Why.\nvalue = """a\n\nb"""\n\n'
    function = 'def get():\n    "It."\n    return value  # it\n'
    assert code_lines(module + function) == 3 + 2


def code_lines(source: str) -> int:
    """The lines of a module with code on them: no blanks, comments or docstrings."""
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return len(code - docstrings)
