"""Plain FastAPI: the pipeline in an endpoint that runs in the thread pool."""

import os

import joblib
import pandas as pd
from fastapi import FastAPI
from flight import Answer, Flight

pipeline = joblib.load(os.environ["MODEL"])
app = FastAPI()


@app.post("/predict")
def predict(flight: Flight) -> Answer:
    probability = pipeline.predict_proba(pd.DataFrame([flight.model_dump()]))[0, 1]
    return Answer(prediction=probability >= 0.5, probability=probability)


@app.post("/predict-many")
def predict_many(flights: list[Flight]) -> list[Answer]:
    frame = pd.DataFrame([flight.model_dump() for flight in flights])
    probabilities = pipeline.predict_proba(frame)[:, 1].tolist()
    return [Answer(prediction=value >= 0.5, probability=value) for value in probabilities]
