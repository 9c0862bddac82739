"""Converters of whole detectors' models: the gradient forest and R2-AD2."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np

from r2ad2.networks.forest import TreeEnsemble
from r2ad2.networks.gradient_features import GradientFeatures
from r2ad2.networks.gradient_forest import GradientForest, Judge
from r2ad2.networks.gradient_norms import SMALLEST_SQUARE
from r2ad2.networks.model import R2AD2
from r2ad2.networks.trees import TreeArrays, concatenate
from r2ad2.serving.onnx.gradients import block_gradients
from r2ad2.serving.onnx.graph import Graph, Tensor
from r2ad2.serving.onnx.registry import Call, Converter, register_converter
from r2ad2.serving.onnx.tape import Tape
from r2ad2.serving.onnx.trees import sum_of_leaves

# As `gradient_forest.LINKS`; the sums of forests with "probability" may be added up first.
_LINKS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "probability": lambda leaves: leaves,
    "logit": lambda leaves: leaves.unary("Sigmoid"),
}


@register_converter(GradientFeatures)
class GradientFeaturesConverter(Converter):
    """Values, logarithms of gradient norms, residual: in double precision until the end."""

    def forward(self, call: Call) -> Tensor:
        """Write the features, float32 (batch, features)."""
        features, graph, x = call.layer, call.graph, call.input
        inputs = x.cast(np.float64)
        if features.squashed:
            center, scale = (
                w.numpy().astype(np.float64) for w in (features.center, features.scale)
            )
            inputs = ((inputs - center) / scale).unary("Sigmoid")
        norms = features.norms
        gradients, outputs = block_gradients(
            graph, features.snapshots, inputs, norms.loss, norms.blocks
        )
        squares = [gradient.squared_norm() for gradient in gradients]
        layers = [
            sum((squares[i] for i in numbers[1:]), squares[numbers[0]])
            for numbers in norms.blocks_of_layers.values()
        ]
        logs = (graph.concat(layers) + SMALLEST_SQUARE).unary("Log") * 0.5
        residual = inputs - last_copy(outputs)
        parts = [x, copies_in_sample(logs), residual]
        flat = [part.reshape((math.prod(part.sample_shape),)) for part in parts]
        return graph.concat([part.cast(np.float32) for part in flat])


def last_copy(tensor: Tensor) -> Tensor:
    """Return the last of several copies' results (copies, batch, ...): (batch, ...)."""
    if tensor.n_leading == 1:
        return tensor
    return tensor.gather(np.array(int(tensor.shape[0] or 1) - 1), 0)


def copies_in_sample(tensor: Tensor) -> Tensor:
    """Move copies behind the batch: (copies, batch, n) becomes (batch, copies, n)."""
    if tensor.n_leading == 1:
        return tensor.reshape((1, *tensor.sample_shape))
    return tensor.transpose((1, 0, *range(2, len(tensor.shape))))


@register_converter(GradientForest)
class GradientForestConverter(Converter):
    """The mean of all judges."""

    def forward(self, call: Call) -> Tensor:
        """Write the scores (batch, 1)."""
        model = call.layer
        features = Tape(call.graph).run([model.features], call.input)
        judges = [Judge(**settings) for settings in model.judges]
        # In double precision the order in which leaves are added up does not matter.
        samples = features.cast(np.float64)
        forests = [
            trees
            for ensemble in (model.forest, model.shallow)
            if ensemble is not None
            for trees in separate_forests(ensemble)
        ]
        together: list[TreeArrays] = []
        offset = 0.0
        scores = []
        for judge, trees in zip(judges, forests, strict=True):
            if judge.link == "probability":
                together.append(trees)
                offset += judge.offset
            else:
                leaves = sum_of_leaves(samples, trees).cast(np.float64) + judge.offset
                scores.append(_LINKS[judge.link](leaves))
        if together:
            leaves = sum_of_leaves(samples, concatenate(together)).cast(np.float64)
            scores.insert(0, leaves + offset if offset else leaves)
        total = sum(scores[1:], scores[0])
        return (total * (1.0 / len(judges))).cast(np.float32)


def separate_forests(ensemble: TreeEnsemble) -> list[TreeArrays]:
    """Split the trees of a layer into its forests."""
    trees = ensemble.arrays
    ends = np.append(trees.roots, trees.n_nodes)[np.cumsum([0, *ensemble.n_trees])]
    forests = []
    for start, end in itertools.pairwise(ends):
        nodes = slice(start, end)
        roots = trees.roots[(trees.roots >= start) & (trees.roots < end)]
        forests.append(
            TreeArrays(
                trees.features[nodes],
                trees.left[nodes] - start,
                trees.thresholds[nodes],
                trees.values[nodes],
                roots - start,
                trees.depth,
            )
        )
    return forests


@register_converter(R2AD2)
class R2AD2Converter(Converter):
    """Gradients of all snapshots, normalised, then the alarm network."""

    def forward(self, call: Call) -> Tensor:
        """Write the scores (batch, 1)."""
        model, graph = call.layer, call.graph
        gradients = self._gradients(graph, model, call.input)
        if len(model.snapshots) == 1:
            gradients = gradients.reshape((model.n_features,))
        tape = Tape(graph)
        normalized = tape.run([model.normalization], gradients)
        return tape.run([model.alarm], normalized)

    def _gradients(self, graph: Graph, model: R2AD2, x: Tensor) -> Tensor:
        """Write the gradients (batch, snapshots, components), raw or sketched."""
        inputs = x.cast(model.snapshots[0].inputs[0].dtype)
        blocks = model.gradient_blocks
        gradients, _ = block_gradients(
            graph, model.snapshots, inputs, model.reconstruction_loss, blocks
        )
        if model.sketch is None:
            pieces = [gradient.flat() for gradient in gradients]
        else:
            pieces = [
                gradient.flat() if factors is None else gradient.project(*factors)
                for gradient, factors in zip(gradients, model.sketch.factors, strict=True)
            ]
        return copies_in_sample(graph.concat(pieces))
