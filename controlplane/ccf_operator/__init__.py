"""What an operator does to a CCF service: signed governance, and nothing else (decisions 5)."""
