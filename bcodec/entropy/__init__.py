"""Symbols to bits and back: distributions, frequency tables, range coder, and the meter of training."""
