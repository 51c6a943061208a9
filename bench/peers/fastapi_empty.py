"""FastAPI with nothing behind it: a validated body in, a fixed answer out."""

from fastapi import FastAPI
from flight import Answer, Flight

app = FastAPI()


@app.post("/predict")
async def predict(flight: Flight) -> Answer:
    return Answer(prediction=False, probability=0.25)
