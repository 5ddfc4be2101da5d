"""One value, one text, one identity."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.model.canonical import canonical_json, content_id

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def reordered(value: Any) -> Any:
    """The same value with the keys of every object in reverse order of insertion."""
    if isinstance(value, dict):
        return {k: reordered(v) for k, v in reversed(list(value.items()))}
    return [reordered(v) for v in value] if isinstance(value, list) else value


@given(VALUES)
def test_reads_back_equal(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


@given(VALUES)
def test_order_of_keys_does_not_matter(value: Any) -> None:
    assert canonical_json(reordered(value)) == canonical_json(value)
    assert content_id(reordered(value)) == content_id(value)


@given(VALUES)
def test_written_again_is_the_same(value: Any) -> None:
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text


@given(VALUES, VALUES)
def test_different_values_have_different_texts(one: Any, other: Any) -> None:
    # Python holds True equal to 1; JSON does not.
    assert (canonical_json(one) == canonical_json(other)) == (
        json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    )


def test_text() -> None:
    value = {"b": [1, True, None, 'é\n\x1f"\\'], "a": {"積": 2**64, "A": -0}, "": ()}
    assert canonical_json(value).decode() == (
        '{"":[],"a":{"A":0,"積":18446744073709551616},"b":[1,true,null,"é\\n\\u001f\\"\\\\"]}'
    )
    assert content_id({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_lone_surrogates_of_ntfs_names_are_kept_apart() -> None:
    assert canonical_json("\ud800") == b'"\xed\xa0\x80"'
    assert content_id("\ud800") != content_id("\udc00")


@pytest.mark.parametrize(
    "value", [1.0, math.nan, [0.5], {"a": (1, {"b": math.inf})}, {1: "a"}, {None: 1}, {"a": b"x"}, {"a": {1}}]
)
def test_refuses_what_has_no_one_text(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)
