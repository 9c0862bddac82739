"""Detectors that R2-AD2 is compared with; they share its interface and its parts."""

from baselines.a3 import A3Detector
from baselines.ae import AEDetector
from baselines.deepsad import DeepSADDetector
from baselines.devnet import DevNetDetector
from baselines.gradcon import GradConDetector

__all__ = ["A3Detector", "AEDetector", "DeepSADDetector", "DevNetDetector", "GradConDetector"]
