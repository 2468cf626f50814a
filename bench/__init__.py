"""Benchmarks: ``python -m bench`` lists them. Opt-in, ratios only, the baseline interleaved in the same run."""
