"""LitServe: one call per request, or with --batch one call for those that wait together."""

import argparse
import os

import joblib
import litserve as ls
import pandas as pd


class Flights(ls.LitAPI):
    def setup(self, device):
        self.pipeline = joblib.load(os.environ["MODEL"])

    def decode_request(self, request):
        return request["flights"]

    def predict(self, flights):
        return self.pipeline.predict_proba(pd.DataFrame(flights))[:, 1].tolist()

    def encode_response(self, output):
        return {"probabilities": output}


class BatchedFlights(Flights):
    """One flight per request; `predict` gets a list of all that were batched."""

    def decode_request(self, request):
        return request["flight"]

    def encode_response(self, output):
        return {"probability": output}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--batch", action="store_true")
    options = parser.parse_args()
    api = BatchedFlights(max_batch_size=32, batch_timeout=0.01) if options.batch else Flights()
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=options.port,
        num_api_servers=1,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
