"""A scoring pipeline as a SavedModel."""
