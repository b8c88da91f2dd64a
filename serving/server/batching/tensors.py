"""Rows of several requests as one, and back: the arithmetic of batching."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from serving.errors import ServingError, invalid
from serving.server.runtime.bundle import Endpoint, Feeds

# Dtype and inner dimensions of every input.
Form = dict[Endpoint, tuple[object, ...]]


def count_rows(feeds: Feeds) -> int:
    """The 0th dimension that all inputs share."""
    if not feeds:
        raise invalid("Batching Run() must have at least one input tensor")
    if not all(array.ndim for array in feeds.values()):
        raise invalid(
            "Batching Run() input tensors must have at least one dimension"
        )
    sizes = {len(array) for array in feeds.values()}
    if len(sizes) > 1:
        raise invalid(
            "Batching Run() input tensors must have equal 0th-dimension size"
        )
    return sizes.pop()


def form_of(feeds: Feeds) -> Form:
    """What requests must have in common to share a run as they are."""
    return {
        name: (array.dtype, *array.shape[1:]) for name, array in feeds.items()
    }


def split(
    feeds: Feeds, rows: int, room: int, limit: int
) -> list[tuple[Feeds, int]]:
    """Cuts a request of `rows` so that each part fits into a batch of `limit`.

    Returns:
        Parts with their rows; if the request has to be cut at all, the first
        takes the `room` that the open batch still has.
    """
    if rows <= limit:
        return [(feeds, rows)]
    parts = []
    start = 0
    while start < rows:
        count = min(rows - start, room if not start and room > 0 else limit)
        part = {
            name: array[start : start + count] for name, array in feeds.items()
        }
        parts.append((part, count))
        start += count
    return parts


def join(parts: Sequence[list[np.ndarray]]) -> list[np.ndarray]:
    """Puts the outputs of a request's parts together again."""
    if len(parts) == 1:
        return parts[0]
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def merge(
    requests: Sequence[Feeds],
    num_extra: int,
    pad: bool,
    names: Mapping[Endpoint, str],
) -> Feeds:
    """Concatenates inputs by name; with `pad`, widened to the widest.

    `num_extra` copies of the last request's first row are appended, so that the
    batch has an allowed size. `names` are the tensors', for the error.
    """
    merged = {}
    for name in requests[0]:
        arrays = [feeds[name] for feeds in requests]
        if len({array.shape[1:] for array in arrays}) > 1:
            if not pad:
                known = names.get(name, name)
                raise ServingError(
                    f"Tensors with name '{known}' from different tasks have "
                    "different shapes and padding is turned off. Set "
                    "pad_variable_length_inputs to true, or ensure that all "
                    "tensors with the same name have equal dimensions "
                    "starting with the first dim.",
                    "FAILED_PRECONDITION",
                )
            arrays = _widen(arrays)
        if num_extra:
            arrays = [*arrays, np.repeat(arrays[-1][:1], num_extra, axis=0)]
        merged[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return merged


def _widen(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Pads behind, with each array's first value, to the widest shape."""
    if len({array.ndim for array in arrays}) > 1:
        raise ServingError(
            "Tensors of different ranks cannot be padded to one batch",
            "FAILED_PRECONDITION",
        )
    inner = np.max([array.shape[1:] for array in arrays], axis=0).tolist()
    widened = []
    for array in arrays:
        if list(array.shape[1:]) == inner:
            widened.append(array)
            continue
        if not array.size:
            raise invalid("Got empty tensor in batch of non-empty tensors.")
        # np.full would take bytes for an array of numbers.
        found = np.empty((len(array), *inner), array.dtype)
        found[...] = array.flat[0]
        found[tuple(slice(size) for size in array.shape)] = array
        widened.append(found)
    return widened


def share(
    outputs: Sequence[np.ndarray], counts: Sequence[int], rows: int
) -> list[list[np.ndarray]]:
    """Cuts the outputs of a batch into those of its requests.

    `counts` are the rows of each request, `rows` those of the batch.
    """
    for array in outputs:
        problem = ""
        if not np.ndim(array):
            problem = "Batched output tensor has 0 dimensions"
        elif len(array) != rows:
            problem = (
                "Batched output tensor's 0th dimension does not equal the "
                "sum of the 0th dimension sizes of the input tensors"
            )
        if problem:
            raise ServingError(problem, "FAILED_PRECONDITION")
    ends = list(itertools.accumulate(counts))
    return [
        [array[end - count : end] for array in outputs]
        for count, end in zip(counts, ends, strict=True)
    ]
