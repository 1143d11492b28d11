"""The process: settings, logs, metrics, the command line."""
