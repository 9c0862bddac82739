"""Anomaly detectors with scikit-learn's interface."""
