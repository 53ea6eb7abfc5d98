"""A page about a data set: what it holds, how good its pxtrs are, and what looks wrong."""
