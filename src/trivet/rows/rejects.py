"""Rejected rows: what is wrong with them, and how many are too many."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trivet.errors import SettingsError, TooManyRejected

#: The first line of a CSV of rejected rows.
HEADER = b"file,line,column,reason,row\n"
NOT_UTF8 = "not UTF-8"


@dataclass(frozen=True)
class Reject:
    """A rejected row: its first line, the column at fault, the reason, and the raw bytes.

    Lines count from 1; a file without lines has rows instead. ``column`` is empty if the whole row
    is at fault.
    """

    line: int
    column: str
    reason: str
    raw: bytes

    @property
    def cause(self) -> str:
        """The reason, after the column if there is one."""
        return f"{self.column}: {self.reason}" if self.column else self.reason


@dataclass(frozen=True)
class MaxRejected:
    """How many rows may be rejected: a number, or a share of all rows, from 0 to 1."""

    number: float
    is_share: bool = False

    @classmethod
    def parse(cls, text: str) -> MaxRejected:
        """The limit from text such as ``100`` or ``1%``; raises `ValueError`."""
        is_share = text.endswith("%")
        number = float(text[:-1]) / 100 if is_share else int(text)
        if not 0 <= number <= (1 if is_share else number):
            raise ValueError(text)
        return cls(number, is_share)

    @classmethod
    def of(cls, limit: MaxRejected | str | int) -> MaxRejected:
        """The limit, or the one that text or a number stands for; raises `SettingsError`."""
        try:
            return limit if isinstance(limit, cls) else cls.parse(str(limit))
        except ValueError:
            known = "a number of rows, or a share such as '1%'"
            raise SettingsError(f"max_rejected={limit!r}: write {known}") from None

    def __str__(self) -> str:
        return f"{self.number * 100:g}%" if self.is_share else str(self.number)

    def allows(self, rejected: int, rows: int) -> bool:
        """Whether this many of all rows may be rejected."""
        return rejected <= (self.number * rows if self.is_share else self.number)

    def stops_at(self, rejected: int) -> bool:
        """Whether this many are too many, no matter how many rows are still to come."""
        return not self.is_share and rejected > self.number


#: The default.
ONE_PERCENT = MaxRejected(0.01, is_share=True)


def rejected_csv(source: str, rejects: Iterable[Reject]) -> bytes:
    """The rejected rows of one source as CSV without a header; their raw bytes are unchanged."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for reject in rejects:
        row = reject.raw.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        writer.writerow((source, reject.line, reject.column, reject.reason, row))
    return lines.getvalue().encode("utf-8", "surrogateescape")


def too_many(rejected: Mapping[str, int], rows: int, then: str) -> TooManyRejected:
    """The error for too many rejected rows, counted by cause; ``then`` ends the message."""
    causes = ", ".join(f"{cause} ({count:,})" for cause, count in Counter(rejected).most_common())
    encoding = any(cause.endswith(NOT_UTF8) for cause in rejected)
    fix = "save the file as UTF-8" if encoding else "correct the rows"
    return TooManyRejected(
        f"rejected {sum(rejected.values()):,} of {rows:,} rows, more than --max-rejected allows: "
        f"{causes}; {fix}, or allow more{then}"
    )
