"""Public test kit: clocks, storages and servers that tests of tickd and its extensions use."""
