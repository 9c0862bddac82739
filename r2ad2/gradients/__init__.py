"""Per-sample gradients of a model's loss: closed forms, the mapped reference, and sketches."""

from r2ad2.gradients.engine import PerSampleGradients
from r2ad2.gradients.rules import GradientRule, register_rule
from r2ad2.gradients.sketch import GradientSketch

__all__ = ["GradientRule", "GradientSketch", "PerSampleGradients", "register_rule"]
