"""The command line: `switchboard` and `kubectl switchboard`."""
