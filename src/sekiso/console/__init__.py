"""The management console: web pages over the same services as the REST API (CC-6, OP-2, OP-3)."""
