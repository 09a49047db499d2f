"""Benchmarks that print ratios measured side by side in one run: `make bench`."""

import longva_demo  # noqa: F401 (before PyTorch: it says how threads wait, for the other ways too)
