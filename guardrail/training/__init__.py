"""The training loop and its strategies: the only place that imports opacus."""
