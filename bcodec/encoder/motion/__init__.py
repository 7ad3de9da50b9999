"""The motion of a B frame, found and chosen."""
