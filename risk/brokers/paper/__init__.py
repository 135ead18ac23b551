"""Order entry on paper: a venue of our own, matched against the live market."""
