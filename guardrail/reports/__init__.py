"""The report directory: every file a projection of one Report."""
