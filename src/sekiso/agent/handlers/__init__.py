"""What an agent does for each method of the contract."""
