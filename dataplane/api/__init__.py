"""The node's HTTP API: the request pipeline, authentication, and the built-in endpoints."""
