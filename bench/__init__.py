"""Benchmarks that compare this project with a baseline in one run: `make bench`."""

import longva_demo  # noqa: F401 (before PyTorch: it sets how threads wait, for the baselines too)
