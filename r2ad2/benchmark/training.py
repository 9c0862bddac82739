"""`r2ad2 benchmark training`: a training step, its arithmetic and the plain formulation."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from r2ad2.benchmark.measure import in_fresh_process, median_seconds
from r2ad2.support.messages import require_known


@dataclass(frozen=True)
class TrainingOptions:
    """What is measured; the defaults are NSL-KDD with the paper's settings.

    `whole` lists the sizes, rows x columns, of the tables on which a gradient forest is trained.
    """

    n_samples: int = 67_443
    n_features: int = 122
    architecture: str = "40-20-10"
    n_snapshots: int = 3
    batch_size: int = 512
    repeats: int = 3
    settings: tuple[str, ...] = ("paper", "paper, bfloat16", "fast")
    plain: bool = True
    whole: tuple[str, ...] = ("5000x122", "5000x6")


def training_arithmetic(
    n_gradients: int, n_snapshots: int, alarm_units: Sequence[int], batch_size: int
) -> float:
    """Count the operations of the matrix products of one training step of the alarm network.

    The alarm network sees 2 * batch_size samples forward and backward (kernel gradients, and input
    gradients from the second layer on), the normalisation batch_size samples forward and backward
    (input gradients of all layers, no kernel gradients).

    Args:
        n_gradients: components of the gradient, raw or sketched.
        n_snapshots: K.
        alarm_units: hidden layers of the alarm network.
        batch_size: samples per step.

    Returns:
        Number of additions and multiplications.
    """
    n_recurrent = min(2, len(alarm_units)) if n_snapshots > 1 else 0
    width, total = n_gradients, 0.0
    for i, units in enumerate([*alarm_units, 1]):
        if i < n_recurrent:
            forward = n_snapshots * width * 4 * units
            recurrent = (n_snapshots - 1) * units * 4 * units
        else:
            forward, recurrent = width * units, 0
        # In units of batch_size samples: forward 2 + 1, kernels 2, inputs 2 + 1.
        total += (6 if i == 0 else 8) * forward + 8 * recurrent
        width = units
    return 2.0 * batch_size * total


def _measure(
    kind: str,
    model_settings: dict[str, Any],
    architecture: str,
    n_features: int,
    n_snapshots: int,
    batch_size: int,
    repeats: int,
) -> dict:
    import tensorflow as tf

    from r2ad2.benchmark.plain import PlainR2AD2
    from r2ad2.networks.autoencoder import Autoencoder
    from r2ad2.networks.model import R2AD2

    snapshots = [
        Autoencoder(architecture, input_shape=(n_features,), seed=k) for k in range(n_snapshots)
    ]
    model: Any = R2AD2(snapshots, seed=0, **model_settings)
    gradient_size = model.n_features
    if kind == "plain":
        model = PlainR2AD2(model)
    model.compile()
    random = np.random.default_rng(0)
    x = tf.constant(random.random((batch_size, n_features), dtype=np.float32))
    y = tf.constant((random.random((batch_size, 1)) < 0.05).astype(np.float32))
    step = tf.function(lambda: model.train_step((x, y))["loss"], autograph=False)
    seconds = median_seconds({"step": lambda: step().numpy()}, repeats)["step"]
    return {"step_seconds": seconds, "gradient_size": gradient_size}


def _measure_whole(rows: int, columns: int) -> dict:
    from r2ad2.detectors.gradient_forest import GradientForestDetector

    random = np.random.default_rng(0)
    x, y = random.normal(size=(rows, columns)), np.arange(rows) % 50 == 0
    x[y] += random.normal(size=columns)
    detector = GradientForestDetector(random_state=0)
    start = time.perf_counter()
    detector.fit(x, y)
    return {"training_seconds": time.perf_counter() - start}


def _whole_trainings(sizes: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for size in sizes:
        parts = size.split("x")
        if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise ValueError(f"whole must be rows x columns, such as '5000x122', got {size!r}")
        n_rows, n_columns = map(int, parts)
        measured = in_fresh_process(_measure_whole, rows=n_rows, columns=n_columns)
        rows.append({"setting": f"forest, {n_rows:,} x {n_columns}, whole training", **measured})
    return rows


def benchmark_training(options: TrainingOptions, machine: dict[str, Any]) -> list[dict[str, Any]]:
    """Measure training steps of the alarm network, and whole trainings of a gradient forest.

    Each is measured in a process of its own.

    Returns:
        One dict per setting: seconds per step and per epoch, floating point operations of the
        step, the time they take at the machine's measured rate of matrix products (the bound), the
        ratio of the two, the ratio to the paper preset's epoch, and peak memory. Then one dict per
        whole training: its seconds, and peak memory.
    """
    from r2ad2.detectors.r2ad2 import R2AD2Detector
    from r2ad2.detectors.r2ad2_presets import R2AD2_PRESETS
    from r2ad2.training.batches import default_batch_size

    def of_preset(name: str, **changes: Any) -> dict[str, Any]:
        parameters = R2AD2Detector.from_preset(name).get_params() | changes
        chosen = ("alarm_units", "dropout", "gradient", "sketch_size", "alarm_dtype")
        automatic = parameters["batch_size"] == "auto"
        return {
            "model_settings": {key: parameters[key] for key in chosen},
            "batch_size": (
                default_batch_size(options.n_samples) if automatic else options.batch_size
            ),
        }

    settings = {name: of_preset(name) for name in R2AD2_PRESETS}
    settings["paper, bfloat16"] = of_preset("paper", alarm_dtype="mixed_bfloat16")
    require_known(options.settings, settings, "setting")
    runs = [("ours", name) for name in options.settings]
    if options.plain:
        runs.insert(0, ("plain", "paper"))
    rows: list[dict[str, Any]] = []
    for kind, name in runs:
        chosen = settings[name]
        measured = in_fresh_process(
            _measure,
            kind=kind,
            architecture=options.architecture,
            n_features=options.n_features,
            n_snapshots=options.n_snapshots,
            repeats=options.repeats * (1 if "paper" in name else 5),
            **chosen,
        )
        model_settings, batch_size = chosen["model_settings"], chosen["batch_size"]
        operations = training_arithmetic(
            measured["gradient_size"],
            options.n_snapshots,
            model_settings["alarm_units"],
            batch_size,
        )
        precision = "bfloat16" if "bfloat16" in model_settings["alarm_dtype"] else "float32"
        bound = operations / machine[f"{precision}_flops"]
        epoch = measured["step_seconds"] * math.ceil(options.n_samples / batch_size)
        rows.append(
            {
                "setting": name if kind == "ours" else f"{name}, plain formulation",
                "batch_size": batch_size,
                **measured,
                "operations": operations,
                "bound_seconds": bound,
                "step_to_bound": measured["step_seconds"] / bound,
                "epoch_seconds": epoch,
            }
        )
    epochs = {row["setting"]: row["epoch_seconds"] for row in rows}
    if "paper" in epochs:
        for row in rows:
            row["faster_than_paper"] = epochs["paper"] / row["epoch_seconds"]
    return rows + _whole_trainings(options.whole)
