// Count where each channel has a foreground of its own, in one launch.

// Numbers of valid pixels of each class, and of wrong labels.
struct NumberMemory {
  unsigned of[GROUP + 1];
};

extern "C" __global__ void __launch_bounds__(BLOCK) count(Pixels a, States s, Entropy ce, Counting n) {
  DYNAMIC_SHARED(unsigned, counters);
  SHARED(SumMemory, sums);
  SHARED(NumberMemory, numbers);
  const Job job = job_of(a, n);
  if (threadIdx.x <= GROUP) numbers.of[threadIdx.x] = 0;
  clear(counters, n);
  const REAL steps = static_cast<REAL>(a.steps);
  unsigned valid[GROUP] = {}, wrong = 0;
  double loss = 0, weight = 0;
  for (i64 t = job.begin; t < job.end; ++t) {
    const i64 image = a.per_image ? job.row : t / a.tiles;
    const i64 first = t % a.tiles * (BLOCK * ITEMS) + threadIdx.x;
    const LOGIT* logits = static_cast<const LOGIT*>(a.logits) + image * a.image_stride;
    Label label[ITEMS][GROUP];
    REAL x[ITEMS][GROUP];
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
      const i64 p = first + i * BLOCK;
#pragma unroll
      for (int g = 0; g < GROUP; ++g) {
        const i64 c = job.first_class + g;
        const bool there = p < a.pixels && c < a.classes;
        label[i][g] = there ? read_label(a, image, c, p, 2) : Label{-1, false};
        x[i][g] = there ? REAL(read(logits + c * a.class_stride + p * a.pixel_stride)) : REAL(0);
      }
    }
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
#pragma unroll
      for (int g = 0; g < GROUP; ++g) {
        wrong += label[i][g].wrong;
        if (label[i][g].label < 0) continue;
        const bool foreground = label[i][g].label == 1;
        valid[g] += 1;
        const int bin = binary_error(x[i][g], foreground, steps, a.bins).bin;
        increment(counters, job, n, g, foreground, bin, a.bins);
        if (CROSS_ENTROPY && job.part == 0) {
          const i64 c = job.first_class + g;
          loss += side_weight(ce, c, foreground) * binary_entropy(x[i][g], foreground).loss;
          weight += side_weight(ce, c, 0);
        }
      }
    }
  }
  finish(counters, job, n, a);
  if (job.part == 0) {
    for (int g = 0; g < GROUP; ++g)
      if (valid[g]) atomicAdd(numbers.of + g, valid[g]);
    if (wrong) atomicAdd(numbers.of + GROUP, wrong);
    __syncthreads();
    const int g = static_cast<int>(threadIdx.x);
    if (g < GROUP && numbers.of[g])
      atomicAdd(static_cast<u64*>(s.valid) + job.row * a.classes + job.first_class + g, static_cast<u64>(numbers.of[g]));
    if (g == GROUP && numbers.of[g]) atomicAdd(static_cast<u64*>(s.wrong), static_cast<u64>(numbers.of[g]));
  }
  if (CROSS_ENTROPY) write_sums(ce, loss, weight, sums);
}
