"""R2-AD2: semi-supervised anomaly detection by analysing raw per-sample gradients."""

from r2ad2._version import __version__
from r2ad2.autoencoder import Autoencoder
from r2ad2.base import AnomalyDetector, load
from r2ad2.detector import R2AD2Detector
from r2ad2.model import R2AD2

__all__ = ["R2AD2", "AnomalyDetector", "Autoencoder", "R2AD2Detector", "__version__", "load"]
