"""The ledger as CCF writes it: entries, secrets, signatures, chunks and files."""
