"""Moves files between appliance and agent: the BITS protocols, server and Linux client, content verified."""
