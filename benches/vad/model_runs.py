"""Time and results of the speech model without an analyzer, for one or many windows in a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pipecat_genesys.vad import model
from timing import clock_ns

Floats = NDArray[np.float32]

WINDOWS = (1, 2, 4, 8, 16, 64, 128)
PACKETS = ((1, 1), (6, 1), (6, 2), (6, 4), (6, 10))
_ROUNDS = 9
_WINDOWS_PER_ROUND = 400


def measure_model(quick: bool = False) -> dict[str, Any]:
    """Time pipecat's graph and our graph, and compare the results with results for single windows.

    Returns:
        `rows`: for each number of calls and of windows in a run of the model, the time per window,
        and the largest difference from the results of pipecat's graph for single windows.
        `problems`: a message for each difference that is too large.
    """
    content = model.read_model_file()
    pipecats, ours = model.open_session(content), model.load_model(content)
    rounds = 1 if quick else _ROUNDS
    rows: list[dict[str, Any]] = []
    views, states = _inputs(16000, 1)
    rows.append(
        {"graph": "pipecat, 16 kHz", "calls": 1, "windows": 1}
        | {"us": _time(partial(_run, pipecats, views[:, 0], states, 16000), 1, rounds)}
        | {"difference": 0.0}
    )
    for calls in WINDOWS:
        views, states = _inputs(8000, calls)
        alone = [_run(pipecats, views[[call], 0], states[:, [call]], 8000) for call in range(calls)]
        together = _run(pipecats, views[:, 0], states, 8000)
        rows.append(
            {"graph": "pipecat, 8 kHz", "calls": calls, "windows": 1}
            | {"us": _time(partial(_run, pipecats, views[:, 0], states, 8000), calls, rounds)}
            | {"difference": _difference(together, alone)}
        )
    for windows, calls in (*((1, calls) for calls in WINDOWS), *PACKETS[1:]):
        views, states = _inputs(8000, calls, windows)
        batch = [
            (model._rows(views[call]), model.ModelState(states[:1, [call]], states[1:, [call]]))
            for call in range(calls)
        ]
        scores = ours.score(batch)
        difference = 0.0
        for call, result in enumerate(scores):
            state = states[:, [call]]
            for window, confidence in enumerate(result.confidences):
                expected, state = _run(pipecats, views[[call], window], state, 8000)
                difference = max(difference, abs(confidence - float(expected[0, 0])))
            difference = max(difference, float(np.abs(np.concatenate(result.state) - state).max()))
        rows.append(
            {"graph": "ours, 8 kHz", "calls": calls, "windows": windows}
            | {"us": _time(partial(ours.score, batch), calls * windows, rounds)}
            | {"difference": difference}
        )
    problems = [
        f"{row['graph']}: results with {row['calls']} x {row['windows']} windows differ by "
        f"{row['difference']:.1e}"
        for row in rows
        if row["difference"] > model.TOLERANCE
    ]
    return {"rows": rows, "problems": problems}


def _inputs(rate: int, calls: int, windows: int = 1) -> tuple[Floats, Floats]:
    """Return test inputs for the model.

    Returns:
        Noise of shape (calls, windows, samples), whose level differs between windows; and one
        random recurrent state of the model for each call, of shape (2, calls, 128).
    """
    random = np.random.default_rng(calls)
    samples = (256 + 32) * rate // 8000
    level = 10.0 ** -random.uniform(0.5, 3, (calls, windows, 1))
    views = random.standard_normal((calls, windows, samples)) * level
    states = random.uniform(-0.5, 0.5, (2, calls, 128))
    return views.clip(-1, 1).astype(np.float32), states.astype(np.float32)


def _run(session: model.Session, views: Floats, states: Floats, rate: int) -> list[Any]:
    feed = {"input": views, "state": states, "sr": np.array(rate, np.int64)}
    return session.run(("output", "stateN"), feed)


def _difference(together: list[Any], alone: list[list[Any]]) -> float:
    outputs = np.concatenate([output for output, _ in alone])
    states = np.concatenate([state for _, state in alone], axis=1)
    return float(
        max(np.abs(together[0] - outputs).max(), np.abs(together[1] - states).max()),
    )


def _time(run: Callable[[], object], windows: int, rounds: int) -> float:
    """Return the mean time per window in us, of the fastest round."""
    count = max(1, _WINDOWS_PER_ROUND // windows)
    best = float("inf")
    run()
    for _ in range(rounds):
        begin = clock_ns()
        for _ in range(count):
            run()
        best = min(best, (clock_ns() - begin) / count / windows / 1000)
    return best
