"""Keras models and layers."""
