"""The command line (decisions 20)."""
