"""A flight with the fields of the model, and its answer, as the peers exchange them."""

from pydantic import BaseModel


class Flight(BaseModel):
    month: int
    day_of_week: int
    hour: int
    carrier: str
    origin: str
    dest: str
    distance: int
    dep_delay: int
    temp: float | None = None
    dewp: float | None = None
    humid: float | None = None
    wind_dir: float | None = None
    wind_speed: float | None = None
    wind_gust: float | None = None
    precip: float | None = None
    pressure: float | None = None
    visib: float | None = None


class Answer(BaseModel):
    prediction: bool
    probability: float
