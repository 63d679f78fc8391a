"""What benches/suite.py measures, a module for each section."""
