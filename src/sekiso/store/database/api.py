"""What the database keeps, by topic. `Database.begin()` opens one transaction and yields a `UnitOfWork`.

Methods named `add` raise `AlreadyExistsError` where a unique name or identifier is taken; `get` raises
`NotFoundError`; `find` returns None instead. `replace` stores a changed record and raises `NotFoundError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sekiso.model.layer import LayerKind
from sekiso.model.library import (
    AgentRecord,
    AuditEntry,
    ConfigurationRecord,
    CredentialRecord,
    ImageRecord,
    LayerRecord,
    TemplateRecord,
    UserRecord,
    VersionRecord,
)
from sekiso.model.listing import (
    AuditFilter,
    ImageFilter,
    ImageTally,
    LayerFilter,
    LayerSummary,
    VersionChoice,
)
from sekiso.model.paging import Listing, Page
from sekiso.model.task import LogLine, Subject, TaskFilter, TaskKind, TaskRecord, TaskState

Record = TypeVar("Record")


class Rows(Protocol[Record]):
    """One table of records that have an identifier."""

    def add(self, record: Record) -> None:
        """Store a new record."""
        ...

    def add_many(self, records: Iterable[Record]) -> None:
        """Store new records at once, all or none."""
        ...

    def get(self, record_id: str) -> Record:
        """Return a record by its identifier."""
        ...

    def find(self, record_id: str) -> Record | None:
        """Return a record by its identifier; None if there is none."""
        ...

    def replace(self, record: Record) -> None:
        """Store a changed record in place of the one with its identifier."""
        ...

    def remove(self, record_id: str) -> None:
        """Remove a record; harmless if there is none."""
        ...

    def all(self) -> Sequence[Record]:
        """Return every record, sorted by name (versions: by creation)."""
        ...


class NamedRows(Rows[Record], Protocol[Record]):
    """Records whose names are unique: case, width and runs of spaces do not count."""

    def by_reference(self, reference: str) -> Record:
        """Return the record with this identifier, or else with this name.

        Raises:
            NotFoundError: there is neither.
        """
        ...


class AgentRows(NamedRows[AgentRecord], Protocol):
    """Agents."""

    def page(self, listing: Listing) -> Page[AgentRecord]:
        """Return a page of the agents, by `AgentSort`."""
        ...

    def names(self, record_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the names of those agents that there are, by identifier."""
        ...

    def seen(self, agent_id: str, time_s: float) -> None:
        """Remember that an agent was connected."""
        ...


class LayerRows(Rows[LayerRecord], Protocol):
    """Layers; a name is unique among the layers of its kind."""

    def by_reference(self, reference: str, kind: LayerKind | None = None) -> LayerRecord:
        """Return the layer with this identifier, or else with this name.

        Raises:
            NotFoundError: there is neither.
            AmbiguousNameError: layers of several kinds have the name.
        """
        ...

    def page(self, which: LayerFilter, listing: Listing) -> Page[LayerRecord]:
        """Return a page of the layers that match, by `LayerSort`."""
        ...

    def summaries(self, layers: Sequence[LayerRecord]) -> Sequence[LayerSummary]:
        """Return layers as a list shows them, in the order given."""
        ...

    def names(self, record_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the names of those layers that there are, by identifier."""
        ...

    def next_priority(self) -> int:
        """Return a priority above that of every app layer."""
        ...


class VersionRows(Rows[VersionRecord], Protocol):
    """Layer versions; a name is unique within its layer."""

    def of_layer(self, layer_id: str) -> Sequence[VersionRecord]:
        """Return the versions of a layer, oldest first."""
        ...

    def of_layers(self, layer_ids: Sequence[str]) -> Mapping[str, Sequence[VersionRecord]]:
        """Return the versions of each of many layers, oldest first."""
        ...

    def choices(self, which: LayerFilter, listing: Listing) -> Sequence[VersionChoice]:
        """Return versions of layers that match, newest first; deployable ones unless a state is asked for.

        Each word of the text is in the name of the layer or of the version.
        """
        ...

    def called(self, version_ids: Sequence[str]) -> Mapping[str, str]:
        """Return what people call those versions that there are, `layer version`, by identifier."""
        ...

    def by_identity(self, identity: str) -> Sequence[VersionRecord]:
        """Return the versions with this content."""
        ...

    def editing(self) -> Sequence[VersionRecord]:
        """Return the versions that have a packaging machine."""
        ...

    def hold(self, version_id: str, task_id: str) -> VersionRecord:
        """Let a task work on a version; once for all who try at the same time. Again by the same task: fine.

        Raises:
            BusyError: another task holds it; names that task.
            NotFoundError: there is no such version.
        """
        ...

    def let_go(self, version_id: str, task_id: str) -> None:
        """End the hold of a task; harmless if it has none."""
        ...

    def users_of(self, version_id: str) -> Sequence[Subject]:
        """Return what uses a version: other versions made on it, templates, images, and its holder."""
        ...

    def users_of_each(self, version_ids: Sequence[str]) -> Mapping[str, Sequence[Subject]]:
        """Return what uses each of many versions."""
        ...


class TemplateRows(NamedRows[TemplateRecord], Protocol):
    """Image templates; `replace` keeps the earlier revision as history."""

    def page(self, listing: Listing) -> Page[TemplateRecord]:
        """Return a page of the templates, by `TemplateSort`."""
        ...

    def history(self, template_id: str) -> Sequence[TemplateRecord]:
        """Return every revision, newest first."""
        ...


class ImageRows(NamedRows[ImageRecord], Protocol):
    """Published images."""

    def page(self, which: ImageFilter, listing: Listing) -> Page[ImageRecord]:
        """Return a page of the images that match, by `ImageSort`."""
        ...

    def tallies(self, template_ids: Sequence[str]) -> Mapping[str, ImageTally]:
        """Return what became of each template."""
        ...

    def of_template(self, template_id: str) -> Sequence[ImageRecord]:
        """Return the images of a template, newest first."""
        ...

    def hold(self, image_id: str, task_id: str) -> ImageRecord:
        """As for versions."""
        ...

    def let_go(self, image_id: str, task_id: str) -> None:
        """As for versions."""
        ...


class ConfigurationRows(NamedRows[ConfigurationRecord], Protocol):
    """Connector configurations."""

    def names(self, record_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the names of those configurations that there are, by identifier."""
        ...

    def users_of(self, configuration_id: str) -> Sequence[Subject]:
        """Return what uses a configuration: templates, versions being edited, tasks that have not ended."""
        ...

    def users_of_each(self, configuration_ids: Sequence[str]) -> Mapping[str, Sequence[Subject]]:
        """Return what uses each of some configurations; those that nothing uses may be left out."""
        ...


@dataclass(frozen=True, slots=True)
class TaskStatistic:
    """How many tasks of a kind are in a state, and how long those that have ended took.

    Attributes:
        kind: their kind.
        state: their state.
        count: how many there are.
        timed: how many of them have begun and ended.
        total_s: how long those took together.
        longest_s: how long the longest of them took.
    """

    kind: TaskKind
    state: TaskState
    count: int
    timed: int
    total_s: float
    longest_s: float


class TaskRows(Rows[TaskRecord], Protocol):
    """Tasks and their logs."""

    def list(self, which: TaskFilter) -> Sequence[TaskRecord]:
        """Return the tasks that match, newest first."""
        ...

    def page(self, which: TaskFilter, listing: Listing) -> Page[TaskRecord]:
        """Return a page of the tasks that match, by `TaskSort`; the filter's limit does not count."""
        ...

    def statistics(self) -> Sequence[TaskStatistic]:
        """Return how many tasks there are of each kind in each state."""
        ...

    def move(self, task_id: str, to: TaskState, **changes: Any) -> TaskRecord | None:
        """Put a task into a state if `model.task.TRANSITIONS` allows it from the present one, atomically.

        Args:
            task_id: the task.
            to: the new state.
            changes: further attributes of `TaskRecord` to set with it.

        Returns:
            The task as it is now; None if the transition is not allowed (nothing was changed).
        """
        ...

    def report(self, task_id: str, **changes: Any) -> None:
        """Set attributes other than the state (step, percent, done, total, unit, action)."""
        ...

    def log(self, task_id: str, text: str) -> None:
        """Add a line to a task's log."""
        ...

    def log_lines(self, task_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[LogLine]:
        """Return lines of a task's log with a number above `after`."""
        ...

    def forget_ended_before(self, time_s: float) -> int:
        """Remove tasks that ended before a time, with their logs; return how many."""
        ...


class UserRows(NamedRows[UserRecord], Protocol):
    """Users."""


class CredentialRows(Rows[CredentialRecord], Protocol):
    """Sessions and API tokens."""

    def by_secret(self, secret_sha256: str) -> CredentialRecord | None:
        """Return the credential with this hash."""
        ...

    def of_user(self, user_id: str) -> Sequence[CredentialRecord]:
        """Return the credentials of a user, newest first."""
        ...

    def forget_expired(self, time_s: float) -> int:
        """Remove what has expired; return how many."""
        ...


@dataclass(frozen=True, slots=True)
class AuditNote:
    """What an audit entry is to say; see `AuditEntry`."""

    actor: str
    action: str
    subject: Subject
    details: Mapping[str, Any] | None = None


class AuditRows(Protocol):
    """The audit history: append-only, chained by hashes."""

    def append(
        self, *, actor: str, action: str, subject: Subject, details: Mapping[str, Any] | None = None
    ) -> AuditEntry:
        """Add an entry; writers at the same time never break the chain."""
        ...

    def append_many(self, notes: Sequence[AuditNote]) -> Sequence[AuditEntry]:
        """Add entries at once, in the order given."""
        ...

    def list(
        self,
        *,
        before: int | None = None,
        limit: int = 100,
        actor: str | None = None,
        action: str | None = None,
        subject_id: str | None = None,
    ) -> Sequence[AuditEntry]:
        """Return entries that match, newest first; `action` matches a prefix."""
        ...

    def page(self, which: AuditFilter, listing: Listing) -> Page[AuditEntry]:
        """Return a page of the entries that match, newest first.

        Each word of the text is in who did what to the object of which name.
        """
        ...

    def portion(
        self, which: AuditFilter, text: str = "", *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEntry]:
        """Return the first entries that match and have a number above `after`, oldest first."""
        ...

    def verify(self) -> int | None:
        """Check the whole chain; return the number of the first entry that breaks it, None if none does."""
        ...


@dataclass(frozen=True, slots=True)
class RegistrationToken:
    """A one-time token to register an agent (AG-1). Times are Unix seconds.

    Attributes:
        id: identifier.
        secret_sha256: SHA-256 of its secret, hexadecimal.
        agent_name: name that the agent will have; empty = its host name.
        created_by: name of the user.
        created_s: when it was made.
        expires_s: it is refused from then on.
        used_s: when it was used; None = not yet.
    """

    id: str
    secret_sha256: str
    agent_name: str
    created_by: str
    created_s: float
    expires_s: float
    used_s: float | None = None


class TokenRows(Rows[RegistrationToken], Protocol):
    """Tokens to register agents."""

    def use(self, secret_sha256: str, time_s: float) -> RegistrationToken | None:
        """Use a token up, atomically; None if there is none, it was used, or it has expired."""
        ...


@dataclass(frozen=True, slots=True)
class CommandRow:
    """The appliance's journal of one command to an agent; its parameters are not kept (they hold secrets).

    Attributes:
        id: durable identity of the command.
        agent_id: the agent.
        method: the method.
        result: its result as plain data; None until it has come.
        error: its error as plain data; None unless it failed.
        created_s: when it was first given.
        ended_s: when its result came; None before.
    """

    id: str
    agent_id: str
    method: str
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created_s: float
    ended_s: float | None


class CommandRows(Protocol):
    """The appliance's journal of commands to agents."""

    def find(self, command_id: str) -> CommandRow | None:
        """Return what is recorded of a command; None if nothing is."""
        ...

    def begin(self, command_id: str, agent_id: str, method: str) -> CommandRow:
        """Record a command, or return what is recorded of it."""
        ...

    def end(
        self, command_id: str, *, result: dict[str, Any] | None = None, error: dict[str, Any] | None = None
    ) -> None:
        """Record how a command ended; the first end counts."""
        ...

    def forget_ended_before(self, time_s: float) -> int:
        """Remove commands that ended before a time; return how many."""
        ...


class SettingRows(Protocol):
    """Small values of the appliance, by name."""

    def get(self, name: str) -> Any:
        """Return a value as plain data; None if there is none."""
        ...

    def put(self, name: str, value: Any) -> None:
        """Store a value."""
        ...


@dataclass(frozen=True, slots=True)
class UnitOfWork:
    """One transaction."""

    agents: AgentRows
    tokens: TokenRows
    commands: CommandRows
    configurations: ConfigurationRows
    layers: LayerRows
    versions: VersionRows
    templates: TemplateRows
    images: ImageRows
    tasks: TaskRows
    users: UserRows
    credentials: CredentialRows
    audit: AuditRows
    settings: SettingRows


class DatabasePort(Protocol):
    """A database."""

    def begin(self) -> AbstractContextManager[UnitOfWork]:
        """Open a transaction: committed at the end of the block, rolled back by an exception. Not nested."""
        ...

    def read(self) -> AbstractContextManager[UnitOfWork]:
        """Open a transaction that sees one state, changes nothing, and waits for no writer: for listings."""
        ...
