// The counters of a block: of GROUP classes, or of a part of one, in shared memory, where nobody waits for another
// block. A block counts a range of the tiles of a row of the table and writes its counters out, as they are; `merge`
// adds those of all ranges. Background pixels of the lowest bin are not counted: they are the rest.

struct Job {
  i64 row, range;
  int first_class, part;
  int begin_slot;  // of a class: [background bins][foreground bins], each with one more for NaN
  i64 begin, end;  // tiles
};

// Parts of a class, then classes, then ranges are neighbours: what they read in common is in the second-level cache.
__device__ inline Job job_of(const Pixels& a, const Counting& n) {
  Job job;
  i64 block = blockIdx.x;
  job.part = static_cast<int>(block % n.parts);
  block /= n.parts;
  const int groups = (a.classes + GROUP - 1) / GROUP;
  job.first_class = static_cast<int>(block % groups) * GROUP;
  block /= groups;
  job.range = block % n.ranges;
  job.row = block / n.ranges;
  job.begin_slot = job.part * n.slots;
  const i64 tiles = a.per_image ? a.tiles : a.tiles * a.images;
  job.begin = tiles * job.range / n.ranges;
  job.end = tiles * (job.range + 1) / n.ranges;
  return job;
}

__device__ inline void clear(unsigned* counters, const Counting& n) {
  for (int i = static_cast<int>(threadIdx.x); i < n.slots * GROUP; i += BLOCK) counters[i] = 0;
  __syncthreads();
}

__device__ inline void increment(unsigned* counters, const Job& job, const Counting& n, int g, bool own, int bin,
                                 int bins) {
  if (!own && bin == 0) return;
  const int slot = (own ? bins + 1 : 0) + bin - job.begin_slot;
  if (!SEVERAL_PARTS || (slot >= 0 && slot < n.slots)) atomicAdd(counters + g * n.slots + slot, 1u);
}

__device__ inline void finish(const unsigned* counters, const Job& job, const Counting& n, const Pixels& a) {
  __syncthreads();
  const int size = 2 * (a.bins + 1);
  const int end = n.slots < size - job.begin_slot ? n.slots : size - job.begin_slot;
  const i64 rows = a.per_image ? a.images : 1;
  for (int g = 0; g < GROUP && job.first_class + g < a.classes; ++g) {
    const i64 at = ((job.range * rows + job.row) * a.classes + job.first_class + g) * size + job.begin_slot;
    for (int i = static_cast<int>(threadIdx.x); i < end; i += BLOCK)
      static_cast<unsigned*>(n.counted)[at + i] = counters[g * n.slots + i];
  }
}
