"""Training on several devices: the losses of one device, in processes of their own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow
TOLERANCE = 1e-4

# TensorFlow's devices are divided before their first use, hence in a process for each training.
SETUP = """
import contextlib, json, sys
import numpy as np, tensorflow as tf
case = json.loads(sys.argv[1])
if case["strategy"] == "mirrored":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
elif case["strategy"] == "machines":
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
scope = strategy.scope() if case["strategy"] else contextlib.nullcontext()
from r2ad2 import R2AD2, R2AD2Detector, Autoencoder
"""
TRAIN = """
class WithoutChance(R2AD2):
    def sample_synthetic_anomalies(self, x):
        return 1.5 - tf.roll(x, 1, axis=1) ** 2

shape, n = tuple(case["shape"]), case["n"]
y = (np.arange(n) % 5 == 0).astype(np.float32)
x = np.random.default_rng(0).random((n, *shape), dtype=np.float32)
x *= 1 - 0.6 * y.reshape(-1, *[1] * len(shape))
weight = 1 + np.random.default_rng(1).random(n, dtype=np.float32)
with scope:
    snapshots = [Autoencoder(case["architecture"], input_shape=shape, seed=k) for k in range(2)]
    model = WithoutChance(snapshots, alarm_units=(8, 6), dropout=0.0, seed=0, **case["settings"])
    model.compile(1e-2, metrics=["mae"])
    batches = tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(16)
    fitted = model.fit(batches, epochs=8, shuffle=False, verbose=0, validation_data=(x, y))
    result = dict(fitted.history)
weights = model.normalization.get_weights() + model.alarm.get_weights()
result["weights"] = np.concatenate([w.ravel() for w in weights]).tolist()
result["scores"] = np.asarray(model(x[:16])).ravel().tolist()
print(json.dumps(result))
"""


def start(code, case, **environment):
    command = [sys.executable, "-c", SETUP + code, json.dumps(case)]
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0"} | environment
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=environment, **pipes)


def result_of(process):
    try:
        output, errors = process.communicate(timeout=150)
    finally:
        process.kill()
    assert process.returncode == 0, errors[-3000:]
    return json.loads(output.splitlines()[-1])


def run(code, case):
    """Run in one process, or in two that are connected over the loopback interface."""
    if case["strategy"] != "machines":
        return [result_of(start(code, case))]
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    workers = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    processes = [
        start(
            code,
            case,
            TF_CONFIG=json.dumps(
                {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            ),
        )
        for index in range(2)
    ]
    return [result_of(process) for process in processes]


TABLE = {"shape": [6], "architecture": "4-2", "settings": {}, "n": 60}
# Of the last batch one device gets no sample.
IMAGES = {"shape": [8, 8, 1], "architecture": "4C3-3", "settings": {}, "n": 33}
SKETCH = {**TABLE, "settings": {"gradient": "sketch", "sketch_size": 8}}


@pytest.mark.parametrize("case", [TABLE, IMAGES], ids=["table", "images"])
def test_two_devices_have_the_losses_of_one(case):
    (alone,), (together,) = (run(TRAIN, {**case, "strategy": name}) for name in ("", "mirrored"))
    check(together, alone)


def test_two_processes_have_the_losses_of_one():
    (alone,) = run(TRAIN, {**SKETCH, "strategy": ""})
    for together in run(TRAIN, {**SKETCH, "strategy": "machines"}):
        check(together, alone)


def check(together, alone):
    losses = {"loss", "training_loss", "synthetic_loss", "normalization_loss"}
    assert losses | {"mae", "val_loss", "val_mae"} < set(alone)
    assert np.ptp(alone["loss"]) > 0.05  # the training has an effect
    for name, values in alone.items():
        np.testing.assert_allclose(together[name], values, atol=TOLERANCE, err_msg=name)


NOISE = """
snapshots = [Autoencoder("4-2", input_shape=(6,), seed=k) for k in range(3)]
with scope:
    model = R2AD2(snapshots, alarm_units=(8, 6, 4), seed=0)
    x = tf.ones((500, 6))
    @tf.function
    def draw():
        return strategy.run(lambda: (
            model.sample_synthetic_anomalies(x), model.alarm.layers[0](x, training=True)))
    print(json.dumps([[np.asarray(part).ravel().tolist() for part in values.values]
                      for values in draw()]))
"""


def test_devices_draw_noise_of_their_own():
    ((noise, dropout),) = run(NOISE, {"strategy": "mirrored"})
    for first, second in (noise, dropout):
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


DETECTOR = """
x = np.random.default_rng(0).random((64, 4))
with scope:
    try:
        R2AD2Detector(epochs=1, start_epoch=1).fit(x, np.arange(64) % 8 == 0)
    except ValueError as error:
        print(json.dumps(str(error)))
"""


def test_detector_refuses_several_machines():
    for message in run(DETECTOR, {"strategy": "machines"}):
        assert "docs/scale.md" in message
