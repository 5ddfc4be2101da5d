"""Use cases: what console, API and CLI offer, with their rules, holds and audit entries."""
