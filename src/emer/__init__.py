"""Experiment framework for multi-objective ensemble ranking."""
