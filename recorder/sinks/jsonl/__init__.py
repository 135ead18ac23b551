"""Events as JSON lines in rotating files."""
