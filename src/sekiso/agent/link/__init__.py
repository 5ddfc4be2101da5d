"""The link between appliance and agents: registration, mutual TLS, commands that survive both sides."""
