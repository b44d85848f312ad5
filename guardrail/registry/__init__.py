"""What outlives a run: the home, the database of runs, artifacts by content hash, the privacy ledger."""
