"""The appliance as a process: its settings, how its parts are put together, how it starts and ends."""
