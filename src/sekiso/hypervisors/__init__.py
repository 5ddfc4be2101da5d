"""Drivers of hypervisors behind one Protocol."""
