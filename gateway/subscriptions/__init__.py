"""What a venue's session is to carry: wishes, turns, places, pauses. Pure."""
