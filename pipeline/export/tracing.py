"""How what signatures do becomes functions of a graph.

Shape letters as in `serving.signatures`.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

Tensors = dict[str, tf.Tensor]
Functions = dict[str, tf.types.experimental.ConcreteFunction]


class Untracked:
    """Hides a Keras object from the checkpoint graph of a `tf.Module`."""

    def __init__(self, value: tf.keras.Model) -> None:
        self.value = value


def shared(call: Callable[..., Any]) -> Callable[..., Any]:
    """Traces `call` once, as a function that all signatures call.

    A copy in each would make a graph several times as large, and a server
    goes through all of it for every signature that it prepares to run.
    """
    traced = tf.function(lambda *given: call(*given), autograph=False)
    # Behind a closure: a module would save it beside its signatures.
    return lambda *given: traced(*given)


@contextlib.contextmanager
def optimized_once() -> Iterator[None]:
    """What is traced inside is optimized with the graph it is part of.

    By itself every function that a graph calls is optimized again when it is
    first called, in each signature that calls it.
    """
    options = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": True}
    )
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options(
            {"disable_meta_optimizer": False, **options}
        )


def strings(name: str, rank: int) -> dict[str, tf.TensorSpec]:
    """The spec of an input of strings, by its name."""
    return {name: tf.TensorSpec([None] * rank, tf.string, name)}


def function(
    call: Callable[[Tensors], Tensors], specs: Mapping[str, tf.TensorSpec]
) -> tf.types.experimental.ConcreteFunction:
    """Traces `call` over named inputs."""
    # Nothing here branches on a tensor: looking for it takes half of the time.
    traced = tf.function(lambda **inputs: call(inputs), autograph=False)
    return traced.get_concrete_function(**specs)
