"""HTTP/1.1 over TLS for clients (node-api.md 1.5): TLS in memory, one protocol object per connection, interfaces."""
