"""Loads the parity plugin for every pytest run in this repository."""

pytest_plugins = ["parity.plugin"]
