"""Arrays as plain values, as model files keep them."""

from __future__ import annotations

import json

import ml_dtypes  # noqa: F401 - makes bfloat16 known to NumPy, as Keras does
import numpy as np
import pytest

from r2ad2.artefact.arrays import from_plain, to_plain


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "uint32", "bool", ">f4"])
@pytest.mark.parametrize("shape", [(), (2, 3), (0, 4)])
def test_arrays_survive(dtype, shape):
    array = np.full(shape, 1.5).astype(np.dtype(dtype))
    again = from_plain(json.loads(json.dumps(to_plain(array))))
    assert again.dtype.name == array.dtype.name
    np.testing.assert_array_equal(again, array, strict=False)
    assert again.shape == shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "object"}, "OBJECT"),
        ({"shape": [3]}, "reshape"),
        ({"little_endian": "?"}, "base64"),
        ({"dtype": "float64"}, "reshape"),
    ],
)
def test_values_that_describe_no_array_are_refused(changes, message):
    plain = to_plain(np.ones((2, 2), np.float32))
    with pytest.raises(ValueError, match=message):
        from_plain({**plain, **changes})
