"""Records in and out: reading tables, codecs, splits, fingerprints, built-in data."""
