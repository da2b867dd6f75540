"""The report: view data, then a template, then one HTML file."""
