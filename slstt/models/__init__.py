"""The networks; plain keyword arguments, no settings objects."""
