"""Evaluation: a person's own questions, and the published benchmarks through lmms-eval."""
