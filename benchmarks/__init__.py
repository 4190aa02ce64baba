"""Every layer and model against PyTorch, verified and then timed: `python -m benchmarks --help`."""
