"""Exporting a scoring pipeline as an ONNX file, built from the layers themselves.

How to make a further layer exportable is described in `r2ad2.serving.onnx.registry`.
"""
