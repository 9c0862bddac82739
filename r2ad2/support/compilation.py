"""Whether XLA, TensorFlow's compiler, is available."""

from __future__ import annotations

import logging
from functools import cache

import tensorflow as tf

logger = logging.getLogger(__name__)


@cache
def can_fuse() -> bool:
    """Return whether XLA can compile for this machine's default device."""
    try:
        tf.function(lambda x: x + 1, jit_compile=True)(tf.constant(0.0))
    except (tf.errors.OpError, NotImplementedError) as error:
        logger.info("scoring is not compiled by XLA: %s", str(error).splitlines()[0])
        return False
    return True
