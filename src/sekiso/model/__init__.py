"""Frozen data, identifiers, enumerations and pure rules. Nothing here reads, writes or runs anything."""
