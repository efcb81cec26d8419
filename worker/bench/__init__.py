"""The benchmark: the worker, the floor below it and the designs beside it, on the same work in one run."""
