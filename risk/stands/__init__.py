"""Stand-ins for venues: servers in a process of their own that speak a venue's order entry."""
