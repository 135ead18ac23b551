"""Order entry of venues: one folder each."""
