"""The appliance's HTTP side: REST API."""
