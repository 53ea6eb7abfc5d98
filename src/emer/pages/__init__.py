"""Pieces of self-contained pages: HTML, and pictures as SVG text."""
