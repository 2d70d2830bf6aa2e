"""The mathematics: bins, the Jaccard index of counts, the exact loss by sorting, interpolation."""
