"""Files in, files out, without a screen."""
