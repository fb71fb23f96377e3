"""The JavaScript runtime: applications, constitutions and ballots (node-api.md 5)."""
