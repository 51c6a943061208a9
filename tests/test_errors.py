"""The tree of errors in the docstring is the one that is there."""

from __future__ import annotations

from collections.abc import Iterator

from trivet import errors


def tree(error: type[Exception], depth: int = 0) -> Iterator[tuple[int, str]]:
    yield depth, error.__name__
    for child in error.__subclasses__():  # in the order of their definition
        yield from tree(child, depth + 1)


def test_the_drawn_tree_of_errors_is_the_one_that_is_there() -> None:
    lines = (errors.__doc__ or "").splitlines()[2:]
    names = [line.lstrip("│├└─ ") for line in lines]
    drawn = [
        ((len(line) - len(name)) // 4, name.split()[0])
        for line, name in zip(lines, names, strict=True)
    ]
    assert drawn == list(tree(errors.TrivetError))


def test_too_many_rejected_rows_are_a_fault_of_the_table_with_an_exit_code_of_its_own() -> None:
    assert issubclass(errors.TooManyRejected, errors.TableError)
    assert errors.TooManyRejected.exit_code == 3
