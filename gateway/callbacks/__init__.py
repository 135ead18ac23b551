"""Callback sources: venues whose broker's SDK calls us on a thread of its own."""
