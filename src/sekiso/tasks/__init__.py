"""Durable tasks: the port to the workflow engine, and the flows."""
