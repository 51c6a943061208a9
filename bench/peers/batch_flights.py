"""Shared by the batch peers: the types of the flights' columns, and the columns to write."""

import os

import joblib

KEPT = ["flight_id", "time_hour", "late"]
TEXTS = ["carrier", "origin", "dest"]
WHOLE = ["month", "day_of_week", "hour", "distance", "dep_delay"]
WIND = ["wind_dir", "wind_speed", "wind_gust"]
WEATHER = ["temp", "dewp", "humid", *WIND, "precip", "pressure", "visib"]
#: Types for pandas; without them, pandas would guess anew for each chunk of a CSV.
TYPES = dict.fromkeys(TEXTS, "str") | dict.fromkeys(WHOLE, "int64")
TYPES |= dict.fromkeys(WEATHER, "float64")


def load_pipeline():
    return joblib.load(os.environ["MODEL"])


def answer(pipeline, frame):
    """The table of predictions, with the columns that all contestants write."""
    probabilities = pipeline.predict_proba(frame)
    return frame[KEPT].assign(
        prediction=pipeline.classes_[probabilities.argmax(axis=1)],
        probability_false=probabilities[:, 0],
        probability_true=probabilities[:, 1],
    )
