"""The commands, one idea a file: what each takes, refuses and prints.

Heavy modules (torch, PyAV) are imported inside the commands: help and usage errors come at once.
"""
