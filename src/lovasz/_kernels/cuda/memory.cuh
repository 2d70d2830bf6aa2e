// Shared memory of fixed size: COUNT places of a block.

struct SumMemory {
  double of[CROSS_ENTROPY ? BLOCK : 1];
};
struct NumberMemory {
  unsigned of[GROUP + 1];
};
struct IntegerMemory {
  u64 of[BLOCK];
};
struct DoubleMemory {
  double of[BLOCK];
};
