"""The key-value store: tables of bytes, transactions over them, and the write sets they leave."""
