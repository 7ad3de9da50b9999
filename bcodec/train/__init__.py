"""Training: clips, losses, optimizers, runs and stages; `python -m bcodec.train` lists its commands.

A plan (bcodec.train.plan) takes several stages one after the other; packed data (bcodec.train.pack) has its
motion recorded, so that steps need not search.

The loss is R + lambda D: bits per luma pixel and squared error in 8-bit units. Every stage starts from the
last one's weights, can be stopped at any moment, and resumes from its checkpoint.
"""
