"""Detectors that R2-AD2 is compared with; they share its interface and its parts."""
