"""R2AD2 behaves as a Keras model."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from r2ad2 import R2AD2, Autoencoder
from r2ad2.networks.snapshots import make_target, train_snapshots


@pytest.fixture
def data(rng):
    x = rng.random((48, 6), dtype=np.float32)
    y = (np.arange(48) % 6 == 0).astype(np.float32)
    x[y == 1] *= 2
    return x, y


def make_model(n_snapshots=2, seed=0, **settings):
    snapshots = [Autoencoder("4-2", input_shape=(6,), seed=seed + k) for k in range(n_snapshots)]
    return R2AD2(snapshots, **({"alarm_units": (4, 3), "seed": seed} | settings))


def test_architecture_with_several_snapshots():
    model = make_model(3, alarm_units=(6, 5, 4, 3))
    kinds = [type(layer).__name__ for layer in model.alarm.layers]
    assert [k for k in kinds if k != "Dropout"] == [
        *["UnrolledLSTM"] * 2,
        *["Dense"] * 3,
    ]
    assert [tuple(w.shape) for w in model.normalization.weights] == [(80,)] * 4
    assert model.gradients(np.zeros((5, 6))).shape == (5, 3, 80)


def test_architecture_with_one_snapshot_has_no_time_axis():
    model = make_model(1)
    assert not any(isinstance(layer, keras.layers.LSTM) for layer in model.alarm.layers)
    assert model.gradients(np.zeros((5, 6))).shape == (5, 1, 80)
    assert model.predict(np.zeros((5, 6)), verbose=0).shape == (5, 1)


@pytest.mark.parametrize("n_snapshots", [1, 2])
def test_training_lowers_the_losses_and_leaves_the_snapshots_alone(data, n_snapshots):
    model = make_model(n_snapshots)
    before = [w.numpy().copy() for s in model.snapshots for w in s.weights]
    model.compile(learning_rate=1e-2)
    history = model.fit(*data, batch_size=16, epochs=15, verbose=0).history
    assert set(history) == {"loss", "training_loss", "synthetic_loss", "normalization_loss"}
    assert history["loss"][-1] < history["loss"][0]
    np.testing.assert_allclose(
        history["loss"], np.add(history["training_loss"], history["synthetic_loss"]), rtol=1e-5
    )
    after = [w.numpy() for s in model.snapshots for w in s.weights]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(not s.trainable_weights for s in model.snapshots)


def test_synthetic_anomalies_never_touch_the_normalisation(data):
    class Extreme(R2AD2):
        def sample_synthetic_anomalies(self, x):
            return 1e3 * tf.ones_like(x)

    snapshots = [Autoencoder("4-2", input_shape=(6,), seed=k) for k in range(2)]
    models = [kind(snapshots, alarm_units=(3, 3), dropout=0.0, seed=0) for kind in (R2AD2, Extreme)]
    for model in models:
        model.compile()
        model.train_on_batch(*data)
    for a, b in zip(*(m.normalization.weights[2:] for m in models), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_normalisation_is_trained_without_dropout(data):
    losses = []
    for dropout in (0.0, 0.9):
        model = make_model(1, dropout=dropout)
        model.compile(0.0)  # so that the update before has no effect
        losses.append(model.train_on_batch(*data, return_dict=True))
    without, with_dropout = losses
    same, other = "normalization_loss", "training_loss"
    assert with_dropout[same] == pytest.approx(without[same], rel=1e-5)
    assert with_dropout[other] != pytest.approx(without[other], rel=1e-4)


def test_synthetic_anomalies_have_the_mean_and_deviation_asked_for():
    model = make_model(1, noise_mean=-2.0, noise_std=0.5)
    noise = model.sample_synthetic_anomalies(tf.zeros((4000, 6))).numpy()
    assert noise.shape == (4000, 6)
    assert noise.mean() == pytest.approx(-2, abs=0.02)
    assert noise.std() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("gradient", "formed"), [("raw", 80), ("sketch", 0)])
def test_memory_of_one_sample(gradient, formed):
    model = make_model(2, gradient=gradient, sketch_size=8)
    assert model.gradient_bytes == model.gradients(np.zeros((1, 6))).numpy().nbytes
    # Outputs of input, hidden layers with dropout, code, and output; and their deltas.
    activations = 6 + (4 + 4) + 2 + (4 + 4) + 6
    expected = model.gradient_bytes + 4 * 2 * (formed + 2 * activations)
    assert model.working_bytes == expected


def test_arrays_and_pipelines_give_the_same_training(data):
    weights = []
    for as_pipeline in (False, True):
        model = make_model(1)
        model.compile()
        x, y = data
        if as_pipeline:
            batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
            model.fit(batches, shuffle=False, epochs=2, verbose=0)
        else:
            model.fit(x, y, batch_size=16, shuffle=False, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_samples_of_any_number_type_are_converted(data):
    class FloatNoise(R2AD2):
        def sample_synthetic_anomalies(self, x):
            return tf.random.uniform(tf.shape(x))

    snapshots = [Autoencoder("4-2", input_shape=(6,), seed=0)]
    x, y = data
    for values in (x.astype(np.float64), (x * 100).astype(np.uint8)):
        model = FloatNoise(snapshots, alarm_units=(3, 3), seed=0)
        model.compile()
        pipeline = tf.data.Dataset.from_tensor_slices((values, y)).batch(16)
        assert np.isfinite(model.fit(pipeline, verbose=0).history["loss"]).all()


def test_unlabelled_samples_count_as_normal(data):
    x, _ = data
    models = [make_model(1), make_model(1)]
    for model, target in zip(models, [None, np.zeros(len(x))], strict=True):
        model.compile()
        model.fit(x, target, batch_size=16, shuffle=False, verbose=0)
    np.testing.assert_array_equal(*(m.predict(x, verbose=0) for m in models))


def test_validation_callbacks_and_metrics(data):
    model = make_model()
    model.compile(metrics=[keras.metrics.AUC(name="auc")])
    history = model.fit(
        *data,
        validation_data=data,
        epochs=6,
        verbose=0,
        callbacks=[keras.callbacks.EarlyStopping("val_loss", patience=2)],
    ).history
    assert {"auc", "val_auc", "val_loss"} <= set(history)
    assert "val_synthetic_loss" not in history
    result = model.evaluate(*data, verbose=0, return_dict=True)
    assert float(result["loss"]) == pytest.approx(
        keras.losses.BinaryCrossentropy()(
            data[1][:, None], model.predict(data[0], verbose=0)
        ).numpy(),
        rel=1e-5,
    )


def test_sample_and_class_weights_act_on_the_training_loss(data):
    x, y = data

    def losses(**weights):
        model = make_model(1, dropout=0.0)
        model.compile()
        return model.fit(x, y, batch_size=48, shuffle=False, verbose=0, **weights).history

    plain = losses()
    doubled = losses(sample_weight=np.full(len(x), 2.0))
    by_class = losses(class_weight={0: 2.0, 1: 2.0})
    assert doubled["training_loss"][0] == pytest.approx(2 * plain["training_loss"][0], rel=1e-5)
    assert by_class["training_loss"][0] == pytest.approx(2 * plain["training_loss"][0], rel=1e-5)
    assert doubled["synthetic_loss"] == pytest.approx(plain["synthetic_loss"], rel=1e-5)


@pytest.mark.parametrize("execution", [{"jit_compile": True}, {"steps_per_execution": 3}])
def test_compiled_and_grouped_steps_train_too(data, execution):
    model = make_model(alarm_units=(3,))
    model.compile(**execution)
    history = model.fit(*data, batch_size=16, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_keras_round_trip_continues_the_training_exactly(data, tmp_path):
    x, y = data
    # Keras does not save random states.
    model = make_model(1, dropout=0.0, noise_std=0.0)
    model.compile(keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.9))
    model.fit(x, y, batch_size=16, shuffle=False, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    for m in (model, loaded):
        m.fit(x, y, batch_size=16, shuffle=False, epochs=2, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_closed_form_and_reference_train_alike(data):
    models = [make_model(1, gradient_method=m) for m in ("closed_form", "vectorized_map")]
    for model in models:
        model.compile()
        model.fit(*data, batch_size=16, shuffle=False, verbose=0)
    np.testing.assert_allclose(*(m.predict(data[0], verbose=0) for m in models), atol=1e-5)


def test_frozen_layers_of_the_target_stay_out_of_the_gradient(tmp_path):
    snapshot = Autoencoder("4-2", input_shape=(6,), seed=0)
    snapshot.get_layer("code").trainable = False
    model = R2AD2([snapshot, snapshot], alarm_units=(3, 3), seed=0)
    assert model.gradients(np.zeros((1, 6))).shape == (1, 2, 80 - 10)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.ones((2, 6), np.float32)
    np.testing.assert_array_equal(loaded.gradients(x), model.gradients(x))


def test_a_given_autoencoder_is_copied_with_its_weights_and_frozen_layers():
    given = Autoencoder("4-2", input_shape=(6,), seed=0)
    given.get_layer("code").trainable = False
    copy = make_target(given, (6,), dropout=0.4, seed=1)
    assert copy is not given
    for ours, theirs in zip(copy.get_weights(), given.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [layer.trainable for layer in copy.layers] == [layer.trainable for layer in given.layers]
    with pytest.raises(ValueError, match=r"expects samples of shape \(6,\)"):
        make_target(given, (7,), dropout=0.4, seed=1)


def test_snapshots_are_frozen_copies_of_one_training_run(rng):
    target = Autoencoder("3", input_shape=(6,), seed=0)
    x = rng.random((40, 6), dtype=np.float32)
    result = train_snapshots(
        target, x, start_epoch=2, n_snapshots=3, snapshot_interval=1, batch_size=8, random_state=1
    )
    assert list(result.history["epoch"]) == [1, 2, 3, 4]
    assert len(result.held_back) == 10
    assert all(not s.trainable_weights for s in result.snapshots)
    kernels = [s.get_weights()[0] for s in result.snapshots]
    assert not np.array_equal(kernels[0], kernels[1])
    np.testing.assert_array_equal(kernels[2], target.get_weights()[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: R2AD2([]), "at least one snapshot"),
        (lambda: make_model(alarm_units=()), "alarm_units"),
        (lambda: make_model(dropout=1.0), "dropout"),
        (
            lambda: R2AD2([Autoencoder(a, input_shape=(6,)) for a in ("4-2", "4-3")]),
            "weights differ",
        ),
    ],
)
def test_wrong_parts_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
