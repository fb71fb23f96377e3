"""Where nodes run: one small protocol and the places that keep its promises (decisions 18)."""
