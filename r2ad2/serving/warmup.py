"""Requests that warm up TensorFlow Serving, in its own format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2  # noqa: F401, registers the type

_PACKAGE = "r2ad2.serving"
# Messages of TensorFlow Serving (apis/prediction_log.proto, predict.proto, model.proto), only the
# fields used here: (name, number, type). Its own package would install gRPC too.
_MESSAGES: dict[str, list[tuple[str, int, str]]] = {
    "ModelSpec": [("signature_name", 3, "string")],
    "InputsEntry": [("key", 1, "string"), ("value", 2, ".tensorflow.TensorProto")],
    "PredictRequest": [("model_spec", 1, "ModelSpec"), ("inputs", 2, "repeated InputsEntry")],
    "PredictLog": [("request", 1, "PredictRequest")],
    "PredictionLog": [("predict_log", 6, "PredictLog")],
}


def _message_types() -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="r2ad2/serving.proto",
        package=_PACKAGE,
        dependency=["tensorflow/core/framework/tensor.proto"],
        syntax="proto3",
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            repeated, _, kind = kind.rpartition(" ")
            added = message.field.add(
                name=field_name,
                number=number,
                label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL,
            )
            if kind == "string":
                added.type = field.TYPE_STRING
            else:
                added.type = field.TYPE_MESSAGE
                added.type_name = kind if kind.startswith(".") else f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.Default()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_TYPES = _message_types()


def warmup_request(inputs: Mapping[str, np.ndarray], signature: str = "serving_default") -> bytes:
    """Serialise a PredictionLog of a request with these inputs."""
    log = _TYPES["PredictionLog"]()
    request = log.predict_log.request
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        request.inputs.add(key=name, value=tf.make_tensor_proto(values))
    return log.SerializeToString()


def write_warmup(path: Path, requests: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Write requests to a file where TensorFlow Serving looks for them."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            writer.write(warmup_request(request))
