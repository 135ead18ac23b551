"""The commands, one module each; every one is a thin shell around the stage that does the work."""
