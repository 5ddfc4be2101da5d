"""What a connector is, and the connectors there are: settings, rules, checks; pure."""
