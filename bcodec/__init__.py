"""bcodec: a neural B-frame video codec whose bitstreams decode to the same picture on every machine."""
