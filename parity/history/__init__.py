"""What earlier runs measured, and what of today's is new: a database, change points, a page."""
