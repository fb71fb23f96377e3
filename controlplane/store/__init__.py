"""What the control plane remembers: tables, sessions, named queries and leases (decisions 16)."""
