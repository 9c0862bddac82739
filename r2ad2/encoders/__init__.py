"""Encoders: from the samples users have to the tensors networks take."""
