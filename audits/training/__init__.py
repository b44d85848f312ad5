"""How the training went: read from what the monitor saw of it."""
