"""Building an image: the project's builder, and what else one could build the same image with, side by side."""
