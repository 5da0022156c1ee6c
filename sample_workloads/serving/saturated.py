"""Verdict: queueing/saturated. A Flask server gets more requests than its model can serve."""

import logging
import threading

import flask
import torch
from werkzeug.serving import make_server

from sample_workloads.serving.batch_server import parse_server_arguments, start_load
from sample_workloads.serving.model import TOKENS, make_model, score_rows, seconds_per_batch

BUSY = 0.8
"""The load as a share of what the model can serve, one request at a time and padded."""
PADDED = 16 * TOKENS
"""Every request is padded to this length; `--fix` does not pad."""


def padded_seconds(model: torch.nn.Module) -> float:
    """Return how long the model works on a padded request."""
    return seconds_per_batch(model, PADDED // TOKENS)


def make_app(model: torch.nn.Module, width: int) -> flask.Flask:
    """Return the application: one route that scores a row of tokens, one at a time."""
    app, one_at_a_time = flask.Flask(__name__), threading.Lock()

    @app.post("/score")
    def score() -> dict[str, float]:
        tokens = flask.request.get_json()["tokens"]
        row = tokens + [0] * (width - len(tokens))
        with one_at_a_time:
            return {"score": score_rows(model, [row])[0]}

    return app


def main() -> None:
    """Run the workload."""
    args = parse_server_arguments(__doc__)
    model = make_model(layers=12)
    rate = args.rate or BUSY / padded_seconds(model)
    app = make_app(model, TOKENS if args.fix else PADDED)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    load = start_load(server.server_port, rate, args)
    threading.Thread(target=lambda: (load.wait(), server.shutdown()), daemon=True).start()
    try:
        server.serve_forever()
    finally:
        load.kill()


if __name__ == "__main__":
    main()
