"""The measurements of benches/suite.py, one module for each section."""
