"""Uploads under all that can happen: gaps, overlaps, lost answers, repeated closes, cuts, power loss."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sekiso.transfer import manifest as manifest_module
from sekiso.transfer import receiving
from sekiso.transfer.manifest import LeafHasher
from sekiso.transfer.packets import ContentRange, PacketError, new_session_id
from sekiso.transfer.receiving import BadLeafError
from sekiso.transfer.sessions import Sessions, SessionUnknownError, place
from tests.contract.transfer.rigs import DiskRig, MemoryRig, StoreRig, head

_LEAF = 64


class Uploads(RuleBasedStateMachine):
    """One upload, against a model of it: how many bytes are acknowledged, whether it is closed."""

    kind = "memory"

    @initialize(size=st.integers(0, 400), seed=st.integers(0, 1 << 30))
    def begin(self, size: int, seed: int) -> None:
        self.temporary = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        for module in (manifest_module, receiving):
            self.patch.setattr(module, "LEAF_BYTES", _LEAF)
        folder = Path(self.temporary.name)
        self.rig: StoreRig = MemoryRig(folder) if self.kind == "memory" else DiskRig(folder)
        self.data = random.Random(seed).randbytes(size)
        hasher = LeafHasher()
        hasher.update(self.data)
        self.expected = hasher.manifest()
        self.sessions = Sessions(self.rig.store)
        self.id = ""
        self.create()

    def create(self) -> None:
        wanted = head(self.rig.folder, new_session_id())
        found = self.sessions.create(wanted, self.expected)
        if found != self.id:
            self.id, self.acknowledged, self.is_closed = found, 0, False
        self.final = wanted.final
        self.url, self.principal = wanted.url, wanted.principal

    def hold(self):
        return self.sessions.hold(self.id, url=self.url, principal=self.principal, expected=self.expected)

    @rule()
    def create_again(self) -> None:
        """The answer to Create-Session was lost: the same session comes back."""
        before = self.id
        self.create()
        assert self.id == before

    @precondition(lambda self: self.data)
    @rule(draw=st.data())
    def fragment(self, draw: st.DataObject) -> None:
        """Any fragment, perhaps cut, perhaps with its answer lost, perhaps with a wrong byte."""
        size = len(self.data)
        first = draw.draw(st.integers(0, size - 1) | st.just(min(self.acknowledged, size - 1)))
        last = draw.draw(st.integers(first, size - 1))
        arriving = draw.draw(st.integers(0, last - first + 1) | st.just(last - first + 1))
        flip = draw.draw(st.none() | st.integers(0, last - first))
        span = ContentRange(first, last, size)
        body = bytearray(self.data[first : last + 1])
        if flip is not None:
            body[flip] ^= 0xFF
        session = self.hold()
        try:
            before = session.next_offset
            assert before == self.acknowledged or self.is_closed
            placed = session.begin(span)
            assert placed == place(span, before)
            if placed.take_bytes:
                self.take(session, bytes(body[placed.skip_bytes : arriving]))
        finally:
            if self.id:
                self.sessions.let_go(session)

    def take(self, session, body: bytes) -> None:
        try:
            for at in range(0, len(body), 50):
                session.feed([body[at : at + 50]])
        except BadLeafError as exc:
            if exc.is_final:
                self.sessions.forget(self.id)
                self.sessions.let_go(session)
                self.id = ""
                self.create()
                return
            assert session.next_offset == exc.offset_bytes
        # Bytes of a leaf that is not complete may still be wrong: they are not verified, only durable.
        self.acknowledged = session.checkpoint()

    @rule()
    def close(self) -> None:
        """Close, perhaps for the second time."""
        session = self.hold()
        try:
            session.close()
        except PacketError:
            assert self.acknowledged < len(self.data) and not self.is_closed
        except BadLeafError:
            raise AssertionError("each leaf was checked when it came") from None
        else:
            assert self.is_closed or self.acknowledged == len(self.data)
            self.is_closed = True
        finally:
            self.sessions.let_go(session)

    @rule()
    def restart(self) -> None:
        """The server loses its power and starts again."""
        self.sessions.close()
        self.sessions = Sessions(self.rig.restart())

    @precondition(lambda self: not self.is_closed)
    @rule()
    def cancel(self) -> None:
        """Cancel and begin anew."""
        session = self.hold()
        self.sessions.forget(self.id)
        self.sessions.let_go(session)
        with pytest.raises(SessionUnknownError):
            self.hold()
        assert self.rig.leftovers() == 0
        self.id = ""
        self.create()

    @invariant()
    def the_name_shows_the_whole_file_or_nothing(self) -> None:
        if hasattr(self, "final"):
            assert self.rig.published(self.final) == (self.data if self.is_closed else None)

    def teardown(self) -> None:
        if hasattr(self, "temporary"):
            self.sessions.close()
            self.patch.undo()
            self.temporary.cleanup()


class DiskUploads(Uploads):
    kind = "disk"


TestUploadsInMemory = Uploads.TestCase
TestUploadsInMemory.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestUploadsOnDisk = DiskUploads.TestCase
TestUploadsOnDisk.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
