"""Trains the target autoencoder and keeps frozen copies of it at different epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from r2ad2.networks.autoencoder import Autoencoder, default_architecture
from r2ad2.support.progress import TrainingProgress
from r2ad2.training.batches import batches_in_order, shuffled_batches
from r2ad2.training.loop import Training
from r2ad2.training.replicas import divisible, n_devices


def frozen_copy(model: keras.Model, name: str | None = None) -> keras.Model:
    """Copy a model's layers and weights; the copy is not trainable."""
    # The clone of a compiled model would also be compiled, with an optimiser that nobody needs.
    inputs, outputs = (
        tensors[0] if len(tensors) == 1 else tensors for tensors in (model.inputs, model.outputs)
    )
    uncompiled = keras.Model(inputs, outputs)
    copy = keras.models.clone_model(uncompiled)
    copy.set_weights(model.get_weights())
    copy.trainable = False
    if name is not None:
        copy.name = name
    return copy


def trainable_copy(model: keras.Model) -> keras.Model:
    """Copy a model's layers and weights; layers that were frozen stay frozen."""
    copy = frozen_copy(model)
    copy.trainable = True
    # A sequential model does not list its input layer.
    pairs = zip(reversed(copy.layers), reversed(model.layers), strict=False)
    for copied, original in pairs:
        copied.trainable = original.trainable
    return copy


def make_target(
    architecture: str | keras.Model,
    sample_shape: Sequence[int],
    dropout: float,
    seed: int,
    **settings: Any,
) -> keras.Model:
    """Build the untrained target autoencoder.

    Args:
        architecture: description for an `Autoencoder`; "auto" chooses one by the samples' shape. A
            built autoencoder is copied with its weights; layers that are frozen stay frozen.
        sample_shape: (features,) or (height, width, channels).
        dropout: rate in [0, 1), for an `Autoencoder`.
        seed: seed for an `Autoencoder`.
        **settings: further arguments for an `Autoencoder`.

    Raises:
        ValueError: if an autoencoder is not built, or expects samples of another shape.
    """
    if not isinstance(architecture, keras.Model):
        if architecture == "auto":
            architecture = default_architecture(sample_shape)
        return Autoencoder(
            architecture, input_shape=sample_shape, dropout=dropout, seed=seed, **settings
        )
    if not architecture.built:
        raise ValueError(
            "the autoencoder has no weights yet: build it with its input's shape, such as "
            f"keras.Sequential([keras.Input({tuple(sample_shape)}), ...])"
        )
    if tuple(architecture.input_shape[1:]) != tuple(sample_shape):
        raise ValueError(
            f"the autoencoder expects samples of shape {architecture.input_shape[1:]}, but the "
            f"encoded samples have shape {tuple(sample_shape)}"
        )
    return trainable_copy(architecture)


class SnapshotCallback(keras.callbacks.Callback):
    """Keeps a frozen copy of the model at the end of chosen epochs of its training.

    Args:
        epochs: numbers of the epochs, counted from 1.
    """

    def __init__(self, epochs: Sequence[int]):
        super().__init__()
        self.epochs = tuple(epochs)
        self.snapshots: list[keras.Model] = []

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Copy the model if this is one of the chosen epochs."""
        if epoch + 1 in self.epochs:
            self._keep()

    def _keep(self) -> None:
        self.snapshots.append(frozen_copy(self.model, name=f"snapshot_{len(self.snapshots)}"))

    def state(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Return the weights of all copies, for a checkpoint."""
        weights = [weight for snapshot in self.snapshots for weight in snapshot.get_weights()]
        return {"n_snapshots": len(self.snapshots)}, weights

    def resume(self, values: dict[str, Any], arrays: list[np.ndarray]) -> None:
        """Restore the copies from the weights that `state` returned."""
        self.snapshots = []
        for first in range(0, len(arrays), len(self.model.weights)):
            self._keep()
            self.snapshots[-1].set_weights(arrays[first : first + len(self.model.weights)])


@dataclass(frozen=True)
class SnapshotTraining:
    """Result of `train_snapshots`.

    Attributes:
        snapshots: frozen copies, in the order of their epochs.
        history: one row per epoch with columns epoch (from 1), loss and, if samples were held back,
            held_back_loss. Dropout acts on the first only.
        held_back: sorted indices of the samples that the autoencoder has not seen.
    """

    snapshots: list[keras.Model]
    history: pd.DataFrame
    held_back: np.ndarray


def snapshot_epochs(start_epoch: int, n_snapshots: int, snapshot_interval: int) -> list[int]:
    """List the epochs after which copies are kept: start, start + interval, ...

    Raises:
        ValueError: if an argument is below 1.
    """
    for name, value in [
        ("start_epoch", start_epoch),
        ("n_snapshots", n_snapshots),
        ("snapshot_interval", snapshot_interval),
    ]:
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    return [start_epoch + i * snapshot_interval for i in range(n_snapshots)]


def phases_of(epochs: Sequence[int]) -> list[tuple[str, int]]:
    """List the training's phases, to the first copy and on to the last, with their lengths."""
    retraining = epochs[-1] - epochs[0]
    phases = [("autoencoder", epochs[0])]
    return [*phases, ("retraining", retraining)] if retraining else phases


def train_snapshots(
    target: keras.Model,
    x: np.ndarray,
    *,
    start_epoch: int = 10,
    n_snapshots: int = 3,
    snapshot_interval: int = 5,
    holdout: float = 0.25,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
    loss: str = "binary_crossentropy",
    random_state: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    training: Training | None = None,
) -> SnapshotTraining:
    """Train an autoencoder once and keep copies of it along the way.

    Args:
        target: the autoencoder; it is compiled and trained in place.
        x: normal samples (n, ...), scaled to [0, 1].
        start_epoch: epochs before the first copy (T0).
        n_snapshots: number of copies (K).
        snapshot_interval: epochs between copies (T).
        holdout: share of the samples in [0, 1) that is held back from this training. Under a
            strategy of several devices, a few more may be: the devices' shares must be equal.
        batch_size: samples per batch.
        learning_rate: learning rate of Adam.
        loss: Keras reconstruction loss.
        random_state: seed of which samples are held back and of the order of the others.
        callbacks: Keras callbacks of this training.
        training: the run of a detector's training that this is part of.

    Returns:
        The snapshots, the losses, and which samples were held back.

    Raises:
        ValueError: for values out of range, if no sample is left to train on, or if a loss or
            weight is not finite.

    Source: R2-AD2 (ECML-PKDD 2022), Algorithm 1.
    """
    epochs = snapshot_epochs(start_epoch, n_snapshots, snapshot_interval)
    if not 0 <= holdout < 1:
        raise ValueError(f"holdout must be in [0, 1), got {holdout}")
    n_kept = divisible(int((1 - holdout) * len(x)))
    if n_kept < 1:
        raise ValueError(f"{len(x)} normal samples with holdout={holdout} leave none to train on")
    order = np.random.default_rng(random_state).permutation(len(x))
    seen, held_back = np.sort(order[:n_kept]), np.sort(order[n_kept:])
    batch_size = max(divisible(batch_size), n_devices())
    validated = x[held_back[: divisible(len(held_back))]]

    target.compile(optimizer=keras.optimizers.Adam(learning_rate), loss=loss)
    keeper = SnapshotCallback(epochs)

    def batches(first_epoch: int) -> tuple[tf.data.Dataset, int]:
        pipeline, steps = shuffled_batches([x[seen]], batch_size, random_state, first_epoch)
        return pipeline.map(lambda batch: (batch, batch)), steps

    history = (training or Training(TrainingProgress(0))).fit(
        target,
        batches,
        phases_of(epochs),
        callbacks=[keeper, *callbacks],
        validation_data=batches_in_order([validated] * 2, batch_size) if len(validated) else None,
    )
    history = history.rename(columns={"val_loss": "held_back_loss"})
    return SnapshotTraining(keeper.snapshots, history, held_back)
