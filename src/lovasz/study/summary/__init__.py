"""From finished runs, or scored predictions, to differences, intervals and tables."""
