"""`driftline demo`: a year of real purchases through the whole path, and what a shop wants to see of it."""
