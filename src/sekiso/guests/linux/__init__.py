"""Linux guests of the Debian family: Debian and Ubuntu."""
