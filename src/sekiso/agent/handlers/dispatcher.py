"""What an agent does for each method of `agent.contract.METHODS`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from sekiso.agent.contract import METHODS, STREAMS
from sekiso.agent.handlers import (
    caching,
    capturing,
    disks,
    host,
    images,
    layers,
    moving,
    packaging,
    storage,
    systems,
)
from sekiso.agent.handlers.context import AgentHost, Command, Handler, StreamHandler
from sekiso.agent.handlers.errors import MethodUnknownError
from sekiso.agent.handlers.opening import storage_error
from sekiso.agent.handlers.settings import HandlerSettings
from sekiso.agent.port import ByteStream
from sekiso.model.progress import NO_PROGRESS, Progress

log = logging.getLogger(__name__)

HANDLERS: Mapping[str, Handler] = {
    "host.inventory": host.inventory,
    "storage.probe": storage.probe,
    "storage.probe-same-place": storage.probe_same_place,
    "task.clean-up": storage.clean_up,
    "file.describe": moving.describe,
    "file.upload": moving.upload,
    "file.download": moving.download,
    "transfer.probe-download": moving.probe_download,
    "transfer.probe-upload": moving.probe_upload,
    "layers.missing": layers.missing,
    "layers.fetch": layers.fetch_layer,
    "layers.remove": layers.remove,
    "os.import": systems.import_os,
    "os.pack": systems.pack_os,
    "disk.compose": disks.compose,
    "cache.list": caching.show,
    "cache.clear": caching.clear,
    "packaging.create": packaging.create,
    "packaging.start": packaging.start,
    "packaging.shut-down": packaging.shut_down,
    "packaging.turn-off": packaging.turn_off,
    "packaging.remove": packaging.remove,
    "packaging.states": packaging.states,
    "packaging.freeze": packaging.freeze,
    "packaging.screenshot": packaging.screenshot,
    "packaging.press-keys": packaging.press_keys,
    "layer.capture": capturing.capture_layer,
    "image.create-machine": images.create_machine,
    "image.remove": images.remove,
    "image.boot-test": images.boot_test_image,
}

STREAM_HANDLERS: Mapping[str, StreamHandler] = {"packaging.screen": packaging.screen}


class Handlers:
    """Carries out the methods of the contract at one host. Thread-safe: commands may run side by side."""

    def __init__(self, settings: HandlerSettings) -> None:
        self._host = AgentHost(settings)

    def run(self, method: str, params: Any, *, command_id: str, progress: Progress = NO_PROGRESS) -> Any:
        """Carry out one command.

        Args:
            method: name of the method.
            params: its parameters, of the method's type.
            command_id: durable identity of the command, `<task>.<attempt>.<step>.<name>` for those of tasks.
            progress: told of steps and amounts; asked for cancellation.

        Returns:
            The result, of the method's type.

        Raises:
            MethodUnknownError: there is no such method, or it takes other parameters.
            SekisoError: the command failed; asked again it finishes what it can.
        """
        known = METHODS.get(method)
        if known is None or method not in HANDLERS or not isinstance(params, known.params):
            raise MethodUnknownError(method=method)
        log.debug("command %s: %s", command_id, method)
        try:
            return HANDLERS[method](Command(self._host, command_id, progress), params)
        except OSError as error:
            raise storage_error(params, error) from error

    def open_stream(self, method: str, params: Any) -> ByteStream:
        """Open a stream.

        Args:
            method: its name.
            params: its parameters, of its type.

        Raises:
            MethodUnknownError: there is no such stream, or it takes other parameters.
            SekisoError: it cannot be opened.
        """
        known = STREAMS.get(method)
        if known is None or method not in STREAM_HANDLERS or not isinstance(params, known):
            raise MethodUnknownError(method=method)
        log.debug("stream %s", method)
        try:
            return STREAM_HANDLERS[method](Command(self._host, method, NO_PROGRESS), params)
        except OSError as error:
            raise storage_error(params, error) from error
