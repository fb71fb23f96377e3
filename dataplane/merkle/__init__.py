"""The Merkle tree over the ledger, and proofs that need no tree."""
