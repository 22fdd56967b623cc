"""Settings: one schema per command, each key documented where it is defined; `load` reads and checks them."""
