"""What tests of whole processes share: start, ask, stop."""
