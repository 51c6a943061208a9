"""Text that means a number or a moment, and is not written as JSON writes it.

====================  ================================  ===========================================
form                  such as                           read as
====================  ================================  ===========================================
decimal point         1,234.50  $1,234  12.5%  (3.2)    the number without its unit: 12.5% is 12.5
decimal comma         1.234,50  1 234,5 €  12,5 %       the same
day.month.year        31.12.2024  31.12.2024 08:30      the moment, in UTC
day/month/year        31/12/2024                        the same
month/day/year        12/31/2024                        the same
year/month/day        2024/12/31                        the same
month name            Dec 31, 2024  31-Dec-2024         the same; Dec-2024 is its first day
year-month            2024-03                           the moment at which the month begins
hour:minute           08:30  23:59:59                   minutes since midnight
====================  ================================  ===========================================

A column has one form, and at most one unit: a currency or a percent sign. Brackets mean a negative
number: (3.2) is -3.2. If all cells can be read both ways, as $1,234 can, the comma or point
separates thousands; in percentages and in 0,123, decimals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from trivet.rows.contract import Form, Kind

_UNIT = r"[$€£¥₹%]|USD|EUR|GBP|JPY|CHF|CAD|AUD|CNY|INR|SEK|NOK|DKK|PLN|BRL|MXN|ZAR"
_NUMBER = (
    r"(?P<open>\()?(?P<before>{unit})?\s*(?P<sign>[-+\u2212]?)(?P<after_sign>{unit})?\s*"
    r"(?P<whole>[1-9]\d{{0,2}}(?P<gap>[{gaps}])\d{{3}}(?:(?P=gap)\d{{3}})*|\d*)"
    r"(?:{decimal}(?P<fraction>\d+))?\s*(?P<after>{unit})?(?P<close>\))?"
)
_GAPS = " '\u00a0\u202f\u2019"
_TIME = r"(?:[ T](?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d))?)?"
_DAY, _MONTH, _YEAR = r"(?P<day>\d{1,2})", r"(?P<month>\d{1,2})", r"(?P<year>\d{4}|(?<=/)\d\d)"
_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august"),
    *("september", "october", "november", "december"),
)
_GAP, _NAME, _NAMED = r"[-. /]+", r"(?P<name>[A-Za-z]{3,9})", r"(?P<named>[A-Za-z]{3,9})"
_PATTERNS: dict[Form, re.Pattern[str]] = {
    "decimal point": re.compile(_NUMBER.format(unit=_UNIT, gaps="," + _GAPS, decimal=r"\.")),
    "decimal comma": re.compile(_NUMBER.format(unit=_UNIT, gaps="." + _GAPS, decimal=",")),
    "day.month.year": re.compile(rf"{_DAY}\.{_MONTH}\.{_YEAR}{_TIME}"),
    "day/month/year": re.compile(rf"{_DAY}(?P<gap>[-/]){_MONTH}(?P=gap){_YEAR}{_TIME}"),
    "month/day/year": re.compile(rf"{_MONTH}(?P<gap>[-/]){_DAY}(?P=gap){_YEAR}{_TIME}"),
    "year/month/day": re.compile(rf"(?P<year>\d{{4}})(?P<gap>[./]){_MONTH}(?P=gap){_DAY}{_TIME}"),
    "month name": re.compile(
        rf"(?:{_NAME}(?:{_GAP}(?P<day>\d{{1,2}}))?,?{_GAP}|(?P<first>\d{{1,2}}){_GAP}{_NAMED}{_GAP})"
        rf"(?P<year>\d{{4}}){_TIME}"
    ),
    "year-month": re.compile(rf"{_YEAR}-(?P<month>\d\d)"),
    "hour:minute": re.compile(
        r"(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(:(?P<second>[0-5]\d))?"
    ),
}
_PLAIN = re.compile(r"[-+]?\d*\.?\d*")
_NUMBERS: tuple[Form, ...] = ("decimal point", "decimal comma", "hour:minute")


class Meaning(NamedTuple):
    """What a text means: a number, or ISO 8601 text; and the unit that it is written with."""

    value: float | str
    unit: str = ""


def kind_of(form: Form) -> Kind:
    """What text of this form means."""
    return "number" if form in _NUMBERS else "timestamp"


def read(form: Form, text: str) -> Meaning | None:
    """What a text of this form means; None if it is written otherwise."""
    found = _PATTERNS[form].fullmatch(text.strip())
    if found is None:
        return None
    if form == "hour:minute":
        hour, minute, second = (int(found[part] or 0) for part in ("hour", "minute", "second"))
        return Meaning(hour * 60 + minute + second / 60)
    return _number(found) if form in _NUMBERS else _moment(found)


def is_plain(text: str) -> bool:
    """Whether a text is digits with a point and a sign at most, which every number form may be."""
    return bool(_PLAIN.fullmatch(text.strip()))


def forms_of(texts: Iterable[str]) -> dict[Form, str]:
    """The forms that all of these texts agree on, each with its unit; there may be none.

    There are two only for days that may be months. Plain digits alone have no form.
    """
    texts = list(texts)
    if all(map(is_plain, texts)):
        return {}
    read_as = {form: meanings for form in _PATTERNS if (meanings := _all_read(form, texts))}
    for one, other in (("decimal point", "decimal comma"), ("day/month/year", "month/day/year")):
        if one in read_as and other in read_as:
            if read_as[one] == read_as[other]:
                del read_as[other]
            elif one in _NUMBERS:
                small, large = sorted((one, other), key=lambda form: _size(read_as[form]))
                del read_as[large if "%" in _units(read_as[one]) else small]
    units = {form: _units(meanings) for form, meanings in read_as.items()}
    return {form: "".join(known) for form, known in units.items() if len(known) < 2}


def _all_read(form: Form, texts: list[str]) -> list[Meaning]:
    """What all texts mean; nothing if one of them is written otherwise."""
    found: list[Meaning] = []
    for text in texts:
        if (meaning := read(form, text)) is None:
            return []
        found.append(meaning)
    return found


def _units(meanings: list[Meaning]) -> set[str]:
    return {meaning.unit for meaning in meanings} - {""}


def _size(meanings: list[Meaning]) -> float:
    return sum(abs(float(meaning.value)) for meaning in meanings)


def _number(found: re.Match[str]) -> Meaning | None:
    units = [found[place] for place in ("before", "after_sign", "after") if found[place]]
    digits = re.sub(r"\D", "", found["whole"])
    if (
        len(units) > 1
        or bool(found["open"]) != bool(found["close"])
        or (found["open"] and found["sign"])
        or not (digits or found["fraction"])
    ):
        return None
    number = float(f"{digits or 0}.{found['fraction'] or 0}")
    is_negative = found["open"] or found["sign"] in ("-", "\u2212")
    return Meaning(-number if is_negative else number, "".join(units))


def _moment(found: re.Match[str]) -> Meaning | None:
    parts = {name: text for name, text in found.groupdict().items() if text}
    year = int(parts["year"])
    if len(parts["year"]) == 2:  # as POSIX reads it
        year += 2000 if year < 69 else 1900
    try:
        if name := parts.get("name") or parts.get("named"):
            month = [each.startswith(name.lower()) for each in _MONTHS].index(True) + 1
        else:
            month = int(parts["month"])
        day = int(parts.get("day") or parts.get("first") or 1)
        hour, minute, second = (int(parts.get(part, 0)) for part in ("hour", "minute", "second"))
        return Meaning(datetime(year, month, day, hour, minute, second, tzinfo=UTC).isoformat())
    except ValueError:
        return None
