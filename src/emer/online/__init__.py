"""Simulated A/B tests: what users do under one ranker and under another, and how sure one can be of the difference."""
