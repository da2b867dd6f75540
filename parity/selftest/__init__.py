"""How often the harness finds a planted fault, names the right module, and cries wolf."""
