"""The command line: one module a command, thin, each importing its work only when it runs."""
