"""Does training on the Lovász losses raise the IoU? The comparisons, their results and the tables made of them."""
