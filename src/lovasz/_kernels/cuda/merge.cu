// From the counters of all blocks to the table.

struct IntegerMemory {
  u64 of[BLOCK];
};

// A block for each BLOCK bins of a class: adds the ranges; the background pixels of the lowest bin are the rest.
extern "C" __global__ void __launch_bounds__(BLOCK) merge(Merging m) {
  SHARED(IntegerMemory, scratch);
  const i64 blocks = (m.bins + 1 + BLOCK - 1) / BLOCK;
  const i64 row = blockIdx.x / blocks;
  const int i = static_cast<int>(blockIdx.x % blocks) * BLOCK + static_cast<int>(threadIdx.x);
  const i64 size = 2 * (static_cast<i64>(m.bins) + 1), start = row * size;
  u64 background = 0, foreground = 0;
  if (i <= m.bins) {
    const unsigned* counted = static_cast<const unsigned*>(m.counted) + start + i;
    for (i64 range = 0; range < m.ranges; ++range) {
      background += __ldg(counted + range * m.rows * size);
      foreground += __ldg(counted + range * m.rows * size + m.bins + 1);
    }
    u64* table = static_cast<u64*>(m.table) + start + i;
    if (i > 0) table[0] += background;  // to the lowest other blocks add at the same time
    table[m.bins + 1] += foreground;
  }
  const u64 of_foreground = block_sum<u64, BLOCK>(foreground, scratch.of);
  const u64 of_background = block_sum<u64, BLOCK>(i > 0 ? background : 0, scratch.of);
  if (threadIdx.x == 0) {
    const bool once = blockIdx.x % blocks == 0;
    const u64 valid = once ? static_cast<const u64*>(m.valid)[row / m.classes_a_number] : 0;
    atomicAdd(static_cast<u64*>(m.table) + start, valid - of_background - of_foreground);
    if (once) static_cast<u64*>(m.numbers)[row] += valid;
    if (of_foreground) atomicAdd(static_cast<u64*>(m.numbers) + m.foreground + row, of_foreground);
  }
}
