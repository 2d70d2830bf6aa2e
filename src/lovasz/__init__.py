"""The Lovász losses for PyTorch: segmentation models trained on the Jaccard index, by counting."""
