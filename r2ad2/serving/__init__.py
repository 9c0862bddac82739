"""Exporting a scoring pipeline as a SavedModel for servers."""
