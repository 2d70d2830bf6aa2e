// The second launch of count for the softmax: reads the logits once more, GROUP classes at a time, whose counters fit
// into the memory of a block.

// Of one pixel what all classes share.
struct State {
  REAL top, inverse;
  int label;
};

extern "C" __global__ void __launch_bounds__(BLOCK) count(Pixels a, States s, Counting n) {
  DYNAMIC_SHARED(unsigned, counters);
  const Job job = job_of(a, n);
  clear(counters, n);
  const REAL steps = static_cast<REAL>(a.steps);
  for (i64 t = job.begin; t < job.end; ++t) {
    const i64 image = a.per_image ? job.row : t / a.tiles;
    const i64 first = t % a.tiles * (BLOCK * ITEMS) + threadIdx.x;
    const LOGIT* logits =
        static_cast<const LOGIT*>(a.logits) + image * a.image_stride + job.first_class * a.class_stride;
    State state[ITEMS];
    REAL x[ITEMS][GROUP];
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
      const i64 p = first + i * BLOCK, at = image * a.pixels + p;
      const bool inside = p < a.pixels;
      state[i].label = inside ? __ldg(static_cast<const LABEL*>(s.label) + at) : -1;
      state[i].top = inside ? REAL(read(static_cast<const LOGIT*>(s.top) + at)) : REAL(0);
      state[i].inverse = inside ? read(static_cast<const REAL*>(s.inverse) + at) : REAL(0);
#pragma unroll
      for (int g = 0; g < GROUP; ++g) {
        const bool there = inside && job.first_class + g < a.classes;
        x[i][g] = there ? REAL(read(logits + p * a.pixel_stride + g * a.class_stride)) : REAL(0);
      }
    }
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
      if (state[i].label < 0) continue;
      const bool good = state[i].inverse == state[i].inverse;
#pragma unroll
      for (int g = 0; g < GROUP; ++g) {
        const int c = job.first_class + g;
        if (c >= a.classes) continue;
        const bool own = state[i].label == c;
        const REAL probability = probability_of(x[i][g], state[i].top, state[i].inverse);
        const int bin = good ? root_bin(own ? REAL(1) - probability : probability, steps) : a.bins;
        increment(counters, job, n, g, own, bin, a.bins);
      }
    }
  }
  finish(counters, job, n, a);
}
