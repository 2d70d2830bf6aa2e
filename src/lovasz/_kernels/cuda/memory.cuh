// Shared memory for the sums of the cross-entropy.

struct SumMemory {
  double of[CROSS_ENTROPY ? BLOCK : 1];
};
