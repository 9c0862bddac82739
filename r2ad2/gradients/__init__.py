"""Per-sample gradients of a model's loss: closed forms, and the mapped reference."""

from r2ad2.gradients.engine import PerSampleGradients
from r2ad2.gradients.rules import GradientRule, register_rule

__all__ = ["GradientRule", "PerSampleGradients", "register_rule"]
