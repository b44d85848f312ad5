"""What mechanisms cost, computed without torch: the ledger adds up what was spent on any machine."""
