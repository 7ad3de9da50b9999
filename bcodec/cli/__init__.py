"""The command line: a file a command, what they take, what they print, how they fail."""
