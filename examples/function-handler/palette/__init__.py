"""What the colours' model shares with others: a package of its own, as a team would have it."""
