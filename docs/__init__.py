"""The pages, and ``python -m docs.generate``, which writes those that are made from the code."""
