"""The program: CLI, config, wiring. The one place where stages are constructed."""
