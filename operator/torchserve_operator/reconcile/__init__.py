"""One resource brought from what is to what is wanted: level-triggered, a list of named steps."""
