"""The checks that the test of a connector configuration shows, row by row (CC-7).

Some need only the settings and what the agent last reported: those that judge the settings are the rules that
saving applies too (`Connector.grouped_violations`). Version and account of the agent keep nobody from saving:
it is the agent that has to be mended. The live checks are carried out by whoever implements `LiveProbes`.
`check_run` puts them in order.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sekiso.connectors.base import N_
from sekiso.model.connector import AgentInventory, TransferPolicy
from sekiso.model.storage_path import SamePlaceQuestion


class CheckStatus(enum.StrEnum):
    """Outcome of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """A check, declared.

    Attributes:
        code: stable name.
        title: its name for a person.
        proves: what is true when it passed, a sentence.
        depends_on: codes of checks that have to pass before it says anything.
        live: whether it needs the agent to do something; others judge what is known.
        needs_inventory: whether it judges what the agent reported.
    """

    code: str
    title: str
    proves: str
    depends_on: tuple[str, ...] = ()
    live: bool = False
    needs_inventory: bool = False


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One row of a test. Texts are English and translated by text.

    Attributes:
        code: code of the check.
        status: its outcome.
        detail: what was found, or why it was skipped.
        what_to_do: what a person can do; empty unless it failed.
        fields: the settings that it is about, where it failed by a rule.
    """

    code: str
    status: CheckStatus
    detail: str
    what_to_do: str = ""
    fields: tuple[str, ...] = ()


CHECKS: tuple[Check, ...] = (
    Check(
        "settings",
        N_("Settings"),
        "The settings are complete and go together.",
    ),
    Check(
        "agent-known",
        N_("Registered agent"),
        "The agent is registered with the appliance.",
    ),
    Check(
        "agent-reachable",
        N_("Connection to the agent"),
        "The agent is connected and answers.",
        depends_on=("agent-known",),
        live=True,
    ),
    Check(
        "agent-version",
        N_("Version of the agent"),
        "The version of the agent fits the appliance.",
        depends_on=("agent-reachable",),
        needs_inventory=True,
    ),
    Check(
        "agent-account",
        N_("Account of the agent"),
        "The agent works with the account of its machine.",
        depends_on=("agent-reachable",),
        needs_inventory=True,
    ),
    Check(
        "offload",
        N_("Offload compositing"),
        "The agent's host can composite layers.",
        depends_on=("agent-reachable",),
        needs_inventory=True,
    ),
    Check(
        "template-vm",
        N_("Template VM"),
        "The template VM exists and can be used.",
        depends_on=("agent-reachable",),
        needs_inventory=True,
    ),
    Check(
        "network-switch",
        N_("Network switch"),
        "The network switch exists at the agent's host.",
        depends_on=("agent-reachable",),
        needs_inventory=True,
    ),
    Check(
        "host-capacity",
        N_("Processors and memory"),
        "The agent's host has the processors and the memory.",
        depends_on=("agent-reachable",),
        needs_inventory=True,
    ),
    Check(
        "storage-path",
        N_("Storage path"),
        "The storage path is one that the agent can use.",
    ),
    Check(
        "storage-probe",
        N_("Access to the storage path"),
        "A file was written, read and deleted at the storage path.",
        depends_on=("agent-reachable", "storage-path"),
        live=True,
    ),
    Check(
        "same-place",
        N_("Same folder by both paths"),
        "The storage path and its UNC path are the same folder.",
        depends_on=("storage-probe",),
        live=True,
    ),
    Check(
        "free-space",
        N_("Free space"),
        "There is room at the storage path.",
        depends_on=("storage-probe",),
        live=True,
    ),
    Check(
        "transfer-to-agent",
        N_("Transfer to the agent"),
        "A file was copied from the appliance to the agent.",
        depends_on=("agent-version", "storage-probe"),
        live=True,
    ),
    Check(
        "transfer-from-agent",
        N_("Transfer from the agent"),
        "A file was copied from the agent to the appliance.",
        depends_on=("agent-version", "storage-probe"),
        live=True,
    ),
)


@dataclass(frozen=True, slots=True)
class StorageProbe:
    """What a probe of the storage path found.

    Attributes:
        account: the account that wrote the probe file.
        free_bytes: what that account may still write there.
    """

    account: str
    free_bytes: int


class LiveProbes(Protocol):
    """What only a live agent can tell. Every method raises a `SekisoError` when its probe fails."""

    def reach_agent(self, reference: str) -> AgentInventory:
        """Ask the agent for what it reports now.

        Args:
            reference: identifier or name of the agent, as the settings give it.
        """
        ...

    def probe_storage(self, path: str) -> StorageProbe:
        """Make the folder if it is absent; write a file there as the agent's account, read and delete it."""
        ...

    def probe_same_place(self, question: SamePlaceQuestion) -> bool:
        """Write a file through one path and look for it, with its content, through the other."""
        ...

    def probe_transfer_to_agent(self, path: str, policy: TransferPolicy) -> None:
        """Copy a file from the appliance to the storage path, compare its content there, and delete it."""
        ...

    def probe_transfer_from_agent(self, path: str, policy: TransferPolicy) -> None:
        """Copy a file from the storage path to the appliance, compare its content there, and delete it."""
        ...


def has_passed(results: Sequence[CheckResult]) -> bool:
    """Whether no check failed."""
    return all(r.status is not CheckStatus.FAILED for r in results)
