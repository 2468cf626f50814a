"""Other people's frameworks in our benchmarks, each in an environment of its own, doing what our worker does."""
