import ml_dtypes
import numpy as np
import pytest

from serving.server.runtime import c_api, c_tensors
from serving.server.runtime.c_api import locked


def there_and_back(array):
    tensor = c_tensors.make(array)
    try:
        return c_tensors.read(tensor)
    finally:
        locked.TF_DeleteTensor(tensor)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3)])
@pytest.mark.parametrize(
    "dtype",
    ["float32", "float64", "float16", "int8", "int64", "uint16", "bool"]
    + ["complex64", ml_dtypes.bfloat16],
)
def test_numbers_come_back(dtype, shape):
    count = int(np.prod(shape))
    array = np.arange(count).astype(dtype).reshape(shape)

    found = there_and_back(array)

    assert found.dtype == array.dtype
    assert found.shape == shape
    assert found.tolist() == array.tolist()


def test_order_in_memory_does_not_matter():
    array = np.arange(6, dtype=np.int32).reshape(2, 3)

    assert there_and_back(array.T).tolist() == array.T.tolist()
    assert there_and_back(array[:, ::2]).tolist() == [[0, 2], [3, 5]]


def test_strings_of_every_length_come_back():
    """22 bytes lie inside of a string, more do not."""
    values = [
        b"\xff" * (length // 2) + b"\0" * (length - length // 2)
        for length in [*range(26), 100, 10_000]
    ]
    array = np.empty(len(values), object)
    array[:] = values

    assert there_and_back(array).tolist() == values
    for value in values:
        one = there_and_back(np.array([[value]], object))
        assert (one.shape, one.item()) == ((1, 1), value)
    assert there_and_back(np.array(b"scalar", object)).item() == b"scalar"
    assert there_and_back(np.empty((0, 2), object)).shape == (0, 2)


@pytest.mark.parametrize("value", ["text", None, 1])
def test_what_is_no_string_is_refused(value):
    with pytest.raises(TypeError):
        c_tensors.make(np.array([value], object))


def test_an_error_has_the_runtimes_code():
    tensor = c_tensors.make(np.float32([1]))
    data = c_api.buffer_of(b"\xff\xff")
    with pytest.raises(Exception, match="Unparseable") as raised:
        c_api.checked(c_api.unlocked.TF_TensorFromProto, data, tensor)
    assert raised.value.code == "INVALID_ARGUMENT"
    locked.TF_DeleteBuffer(data)
    locked.TF_DeleteTensor(tensor)
