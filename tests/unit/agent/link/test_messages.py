"""Messages, and data of commands, from whoever sends them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.agent.contract import DescribeFileParams, FileFacts
from sekiso.agent.handlers.errors import MethodUnknownError
from sekiso.agent.link.errors import RemoteError
from sekiso.agent.link.messages import (
    Ack,
    Cancel,
    Command,
    FromAgent,
    FromAppliance,
    Hello,
    InventoryNews,
    Outcome,
    Pins,
    Progress,
    Renew,
    Renewed,
    StreamClosed,
    StreamCredit,
    StreamOpen,
    StreamOpened,
    StreamRefused,
    decode_from_agent,
    decode_from_appliance,
    encode,
)
from sekiso.agent.link.plain_data import error_data, error_of, params_of, plain, result_of
from sekiso.agent.link.waiting import Teller
from sekiso.errors import NoSpaceError

from ....contract.agent_port.worker import Watched


@pytest.mark.parametrize(
    "message",
    [
        Hello("1", 1, ("a",)),
        Progress("a", "Step", 1, None),
        Outcome("a", {"x": [1]}),
        Outcome("a", error={"code": "x"}),
        InventoryNews({}),
        Renew("csr"),
        StreamOpened(1),
        StreamRefused(1, {"code": "x"}),
    ],
)
def test_messages_of_agents(message: FromAgent) -> None:
    assert decode_from_agent(encode(message)) == message
    with pytest.raises(msgspec.MsgspecError):
        decode_from_appliance(encode(message))


@pytest.mark.parametrize(
    "message",
    [
        Command("a", "m", {"x": 1}),
        Cancel("a"),
        Ack("a"),
        Renewed("pem"),
        Pins(("ab",)),
        StreamOpen(1, "m", {"x": 1}),
    ],
)
def test_messages_of_the_appliance(message: FromAppliance) -> None:
    assert decode_from_appliance(encode(message)) == message
    with pytest.raises(msgspec.MsgspecError):
        decode_from_agent(encode(message))


@pytest.mark.parametrize("message", [StreamCredit(1, 2), StreamClosed(1), StreamClosed(1, {"code": "x"})])
def test_messages_of_both(message: StreamCredit | StreamClosed) -> None:
    for decode in (decode_from_agent, decode_from_appliance):
        assert decode(encode(message)) == message


@given(st.text() | st.binary())
def test_anything_else_is_refused(content: str | bytes) -> None:
    for decode in (decode_from_agent, decode_from_appliance):
        with pytest.raises(msgspec.MsgspecError):
            decode(content)


def test_parameters_and_results_come_back_with_their_types() -> None:
    params = DescribeFileParams("/s", "/s/f")
    assert params_of("file.describe", plain(params)) == params
    facts = FileFacts("/s/f", {"size": 1})
    assert result_of("file.describe", plain(facts)) == facts


def test_result_of_another_version() -> None:
    with pytest.raises(MethodUnknownError):
        result_of("file.describe", {"unknown": 1})


def test_error_comes_back_with_its_class() -> None:
    error = error_of("m", error_data(NoSpaceError(path="/p", needed_bytes=2, free_bytes=1)))
    assert type(error) is NoSpaceError
    assert error.params == {"path": "/p", "needed_bytes": 2, "free_bytes": 1}


def test_error_of_a_class_that_only_the_agent_knows_keeps_its_texts() -> None:
    data = error_data(NoSpaceError(path="/p", needed_bytes=2, free_bytes=1))
    error = error_of("m", {**data, "code": "of-a-later-version"})
    assert isinstance(error, RemoteError)
    assert str(error) == data["text"]
    assert error.params["why"] == "2 bytes are needed, 1 are free."


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"code": 7},
        {"code": "x", "params": "no"},
        {"code": "x", "parts": [1, 2], "text": "said"},
        {"code": "x", "parts": []},
        {"code": "x", "parts": ["a", "b", "c", "d", "e"]},
        {"code": "no-space", "params": {"path": {"a": [None]}}},
        {"code": "no-space", "params": {"path": "{free_bytes.__class__}"}},
        {"code": "no-space", "params": {"self": 1}},
    ],
)
def test_error_that_makes_no_sense_is_still_one(data: dict[str, Any]) -> None:
    assert isinstance(str(error_of("m", data)), str)


def test_progress_is_told_by_step() -> None:
    watched = Watched()
    teller = Teller(watched)
    for news in (
        None,
        Progress("a", "One", 0, 9),
        Progress("a", "One", 5, 9),
        Progress("a", "Two", 0, None),
        Progress("a", "Two", 1, 4),
    ):
        teller.tell(news)
    assert watched.steps == [("One", 9), ("Two", None), ("Two", 4)]
    assert watched.amounts == [0, 5, 0, 1]
