import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import MalformedRequest
from app.web.request.tensor_text import SLICE_BYTES, read_numbers
from tests.web.peaks import peak_bytes

RNG = np.random.default_rng(0)


def shapes() -> st.SearchStrategy[tuple[int, int, int, int]]:
    side = st.integers(1, 4)
    return st.tuples(side, side, side, side)


@given(
    shapes(),
    st.booleans(),
    st.sampled_from([None, 0, 3]),
    st.sampled_from([(",", ":"), (" ,\t", ":"), (", ", ":")]),
)
def test_numbers_are_parsed_like_the_standard_library(
    shape: tuple[int, int, int, int], is_flat: bool, indent: int | None, separators: tuple[str, str]
) -> None:
    tensor = RNG.integers(0, 256, shape, np.uint8)
    nested = tensor.ravel().tolist() if is_flat else tensor.tolist()
    text = json.dumps(nested, indent=indent, separators=separators).encode()

    assert np.array_equal(read_numbers(memoryview(text), shape), tensor)


@pytest.mark.parametrize("is_flat", [True, False])
@pytest.mark.parametrize("space", [" ", "", "\r\n  "])
def test_numbers_are_parsed_across_many_slices(is_flat: bool, space: str) -> None:
    tensor = RNG.integers(0, 256, (2, 111, 111, 3), np.uint8)
    text = json.dumps(tensor.ravel().tolist() if is_flat else tensor.tolist()).replace(" ", space).encode()

    assert len(text) > 5 * SLICE_BYTES
    assert np.array_equal(read_numbers(memoryview(text), tensor.shape), tensor)
    assert peak_bytes(lambda: read_numbers(memoryview(text), tensor.shape)) < tensor.size + 8 * 2**20


@given(
    st.text("[]0123456789, ", max_size=24).map(lambda inner: f"[{inner}]"),
    st.sampled_from([(1, 2), (2, 1), (2, 2), (3, 2)]),
)
def test_a_text_is_parsed_like_the_standard_library_or_refused(text: str, shape: tuple[int, int]) -> None:
    try:
        read = json.loads(text)
        expected = np.asarray(read)
        is_tensor = expected.dtype.kind == "i" and expected.size == np.prod(shape)
        is_tensor = (
            is_tensor
            and expected.shape in (shape, (expected.size,))
            and 0 <= expected.min()
            and expected.max() < 256
        )
    except ValueError:
        is_tensor = False
    try:
        found = read_numbers(memoryview(text.encode()), shape)
    except MalformedRequest:
        found = None

    assert (found is not None) == is_tensor
    assert found is None or np.array_equal(found, expected.reshape(shape))


@pytest.mark.parametrize("nesting", [[[[1, 2]], [[3, 4]]], [[[1], [2]], [[3], [4]]], [[[1, 2], [3, 4]]]])
def test_the_nesting_must_match_the_shape(nesting: list[object]) -> None:
    text = memoryview(json.dumps(nesting).encode())

    assert read_numbers(text, np.shape(nesting)).tolist() == nesting
    for shape in {(2, 1, 2), (2, 2, 1), (1, 2, 2)} - {np.shape(nesting)}:
        with pytest.raises(MalformedRequest):
            read_numbers(text, shape)


MANY = 20 * SLICE_BYTES


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"1," * MANY + b"1]",
        b"[" + b"[" * MANY + b"1",
        b"[" + b"1" * MANY + b"]",
        b"[" + b" " * MANY + b"]",
        b"[" + b"]" * MANY,
        b"[" + b"[1]," * MANY + b"[1]]",
        b"[" + b"," * MANY + b"]",
        b"[" + b"256," * (12 * 1024 - 1) + b"256]",
        b"[" + b"01," * (12 * 1024 - 1) + b"01]",
        b"[" + b"1 1," * (12 * 1024 - 1) + b"1]",
    ],
    ids=lambda text: repr(text[:8]),
)
def test_invalid_texts_are_refused_with_little_memory(text: bytes) -> None:
    with pytest.raises(MalformedRequest):
        read_numbers(memoryview(text), (1, 64, 64, 3))

    assert peak_bytes(lambda: read_numbers(memoryview(text), (1, 64, 64, 3))) < 8 * 2**20
