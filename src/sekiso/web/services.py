"""What the HTTP side is given: every service, and a few facts of the appliance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sekiso.agent.registration import RegistrationAnswer, RegistrationRequest
from sekiso.services.agents import AgentService
from sekiso.services.appliance_settings import ApplianceSettingsService
from sekiso.services.audit import AuditService
from sekiso.services.cache import CacheService
from sekiso.services.certificates import CertificateService
from sekiso.services.configurations import ConfigurationService
from sekiso.services.connector_settings import ConnectorSettingsService
from sekiso.services.health import HealthService
from sekiso.services.images import ImageService
from sekiso.services.logs import LogService
from sekiso.services.metrics import MetricsService
from sekiso.services.packaging import LayerService
from sekiso.services.tasks import TaskService
from sekiso.services.templates import TemplateService
from sekiso.services.users import UserService


@dataclass(frozen=True)
class Services:
    """Every service.

    Attributes:
        agents: agents.
        configurations: connector configurations.
        connector_settings: config.json of the connectors.
        layers: layers, versions, packaging machines.
        templates: image templates.
        images: published images.
        tasks: tasks.
        cache: layer disk caches.
        users: users, sessions, API tokens.
        audit: the audit history.
        certificates: the appliance's certificate.
        appliance_settings: the appliance's settings.
        health: how the appliance is.
        metrics: figures of the appliance.
        logs: logs of the appliance.
        register: registers an agent.
        uploads: folder for what users upload.
    """

    agents: AgentService
    configurations: ConfigurationService
    connector_settings: ConnectorSettingsService
    layers: LayerService
    templates: TemplateService
    images: ImageService
    tasks: TaskService
    cache: CacheService
    users: UserService
    audit: AuditService
    certificates: CertificateService
    appliance_settings: ApplianceSettingsService
    health: HealthService
    metrics: MetricsService
    logs: LogService
    register: Callable[[RegistrationRequest], RegistrationAnswer]
    uploads: Path
