"""What is special per guest family: boot files, structured merges, exclusions, identity, guest tools."""
