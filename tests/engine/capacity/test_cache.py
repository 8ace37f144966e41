from hypothesis import given
from hypothesis import strategies as st

from app.engine.capacity.cache import Cache

LIMIT = 100


def test_the_least_recently_used_value_is_evicted() -> None:
    cache: Cache[str] = Cache(LIMIT)
    for key in "abc":
        cache.put(key, key.upper(), size_bytes=33)
    assert cache.get("a") == "A"
    cache.put("d", "D", size_bytes=33)

    assert [cache.get(key) for key in "abcd"] == ["A", None, "C", "D"]


def test_a_value_larger_than_the_cache_is_not_stored() -> None:
    cache: Cache[str] = Cache(LIMIT)
    cache.put("a", "A", size_bytes=50)
    cache.put("b", "B", size_bytes=101)
    Cache[str](0).put("c", "C", size_bytes=1)

    assert (cache.get("a"), cache.get("b")) == ("A", None)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 120), st.booleans())))
def test_it_behaves_like_a_list_ordered_by_use(steps: list[tuple[str, int, bool]]) -> None:
    cache: Cache[int] = Cache(LIMIT)
    kept: list[tuple[str, int]] = []  # the most recently used item is last
    for key, size, is_put in steps:
        if is_put and size <= LIMIT:
            cache.put(key, size, size_bytes=size)
            kept = [item for item in kept if item[0] != key] + [(key, size)]
            while sum(size for _, size in kept) > LIMIT:
                kept.pop(0)
        elif not is_put:
            cached = next((item for item in kept if item[0] == key), None)
            assert cache.get(key) == (None if cached is None else cached[1])
            if cached is not None:
                kept = [item for item in kept if item != cached] + [cached]

    assert cache.held_bytes == sum(size for _, size in kept) <= LIMIT
