"""The stages of a run, in the order of the chain: train, sample, audit, judge, card."""
