"""A trained student to the bytes of a .tflite file.

Only built-in operations. The int8 file holds the item table once, although
history lookup and scoring both read it: the converter writes two equal
buffers, of which one is kept here. Scores stay float32.
"""

from typing import Literal

import numpy as np
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from models import student as students
from models.student import Student

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")


def convert(student: Student, precision: Precision = "int8") -> bytes:
    """The student as a .tflite file.

    Args:
        student: Called at least once, so that its layers are built.
        precision: Of the item table and, where they are large, the encoder's
            matrices; what is added up and the scores are float32.
    """
    table = student.table().numpy()
    scale = np.ones(table.shape[1], np.float32)
    if precision == "int8":
        table, scale = students.quantise(table)
    length = student.config.history_length

    @tf.function(
        input_signature=[tf.TensorSpec([length], tf.int32, name="history")]
    )
    def serve(history: tf.Tensor) -> dict[str, tf.Tensor]:
        return students.recommend(student, table, scale, history)

    converter = converter_of(student, serve, precision)
    if precision == "int8":
        # A scale a row would cost 12 bytes each; columns have theirs already.
        converter._experimental_disable_per_channel = True
    return _compact(converter.convert())


def converter_of(
    student: Student,
    serve: tf.types.experimental.GenericFunction,
    precision: Precision,
) -> tf.lite.TFLiteConverter:
    """A converter of what is served, with built-in operations only."""
    module = tf.Module()
    # Not the Keras object, whose class would be looked at and complained of.
    module.weights, module.serve = student.weights, serve
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], module
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        # TFLite gathers no float16 rows: the converter stores the table so
        # and widens it when the model is loaded.
        converter.target_spec.supported_types = [tf.float16]
    return converter


def _compact(content: bytes) -> bytes:
    """The same model with equal buffers merged and nothing only people read.

    Names of inputs and outputs stand in the signature.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    kept: list[int] = []
    place: dict[int, int] = {}
    first: dict[bytes, int] = {}
    for number, buffer in enumerate(model.buffers):
        data = b"" if buffer.data is None else bytes(buffer.data)
        if data in first:
            place[number] = first[data]
            continue
        place[number] = len(kept)
        # Buffer 0 means "no data" and others without data are filled at run
        # time.
        if data:
            first[data] = len(kept)
        kept.append(number)
    model.buffers = [model.buffers[number] for number in kept]
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = place[tensor.buffer]
            tensor.name = None
            # All shapes are fixed, so a second, open shape says nothing.
            tensor.shapeSignature = None
            if tensor.quantization and tensor.quantization.scale is None:
                tensor.quantization = None
    for entry in model.metadata or ():
        entry.buffer = place[entry.buffer]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
