// Labels finer than the logits: a strip of logits interpolated, and the gradient of one collected.

struct Between {
  i64 first, second;  // source indices
  REAL w;             // the interpolation weight of the second
};

__device__ inline Between between(const void* lower, const void* weight, i64 at) {
  const i64 first = __ldg(static_cast<const int*>(lower) + at);
  const REAL w = static_cast<REAL>(__ldg(static_cast<const double*>(weight) + at));
  return {first, w == REAL(0) ? first : first + 1, w};
}

__device__ inline REAL mixed(REAL one, REAL other, REAL w) {
  return w == REAL(0) ? one : (REAL(1) - w) * one + w * other;
}

__device__ inline REAL in_row(const LOGIT* logits, const Between& x, i64 stride) {
  return mixed(REAL(read(logits + x.first * stride)), REAL(read(logits + x.second * stride)), x.w);
}

__device__ inline REAL in_slice(const LOGIT* logits, const Between& y, const Between& x, const Interpolating& n) {
  const REAL one = in_row(logits + y.first * n.y_stride, x, n.x_stride);
  return y.w == REAL(0) ? one : mixed(one, in_row(logits + y.second * n.y_stride, x, n.x_stride), y.w);
}

// The logits of a class at the output indices of a strip that begins at `first_z`.
extern "C" __global__ void __launch_bounds__(BLOCK) interpolate(Interpolating n) {
  const i64 row = blockIdx.x / n.tiles, p = blockIdx.x % n.tiles * BLOCK + threadIdx.x;
  if (p >= n.pixels) return;
  const Between z = between(n.lower_z, n.weight_z, n.first_z + p / (n.height * n.width));
  const Between y = between(n.lower_y, n.weight_y, p / n.width % n.height);
  const Between x = between(n.lower_x, n.weight_x, p % n.width);
  const LOGIT* logits = static_cast<const LOGIT*>(n.logits) + row / n.classes * n.image_stride;
  logits += row % n.classes * n.class_stride;
  const REAL one = in_slice(logits + z.first * n.z_stride, y, x, n);
  const REAL v = z.w == REAL(0) ? one : mixed(one, in_slice(logits + z.second * n.z_stride, y, x, n), z.w);
  static_cast<REAL*>(n.strip)[row * n.pixels + p] = v;
}

struct Taken {
  i64 begin, end;
};

__device__ inline Taken taken(const void* begin, const void* end, i64 at) {
  return {__ldg(static_cast<const int*>(begin) + at), __ldg(static_cast<const int*>(end) + at)};
}

// The interpolation weight that a source index has in an output index.
__device__ inline REAL weight_in(const void* lower, const void* weight, i64 output, i64 source) {
  const REAL w = static_cast<REAL>(__ldg(static_cast<const double*>(weight) + output));
  return __ldg(static_cast<const int*>(lower) + output) == source ? REAL(1) - w : w;
}

// Adds to the gradient of each source index that of its output indices in the strip, in their order.
extern "C" __global__ void __launch_bounds__(BLOCK) collect(Interpolating n, Collecting g) {
  const i64 row = blockIdx.x / n.tiles, i = blockIdx.x % n.tiles * BLOCK + threadIdx.x;
  if (i >= g.sources) return;
  const i64 z = g.first_source + i / (g.rows * g.columns), y = i / g.columns % g.rows, x = i % g.columns;
  Taken of_z = taken(g.begin_z, g.end_z, z);
  const Taken of_y = taken(g.begin_y, g.end_y, y), of_x = taken(g.begin_x, g.end_x, x);
  if (of_z.begin < n.first_z) of_z.begin = n.first_z;
  if (of_z.end > n.last_z) of_z.end = n.last_z;
  const REAL* strip = static_cast<const REAL*>(n.strip) + row * n.pixels;
  REAL total = 0;
  for (i64 at_z = of_z.begin; at_z < of_z.end; ++at_z) {
    const REAL w_z = weight_in(n.lower_z, n.weight_z, at_z, z);
    for (i64 at_y = of_y.begin; at_y < of_y.end; ++at_y) {
      const REAL w_zy = w_z * weight_in(n.lower_y, n.weight_y, at_y, y);
      const REAL* line = strip + ((at_z - n.first_z) * n.height + at_y) * n.width;
      for (i64 at_x = of_x.begin; at_x < of_x.end; ++at_x)
        total += w_zy * weight_in(n.lower_x, n.weight_x, at_x, x) * read(line + at_x);
    }
  }
  REAL* out = static_cast<REAL*>(g.gradient) + row / n.classes * n.image_stride + row % n.classes * n.class_stride;
  out[z * n.z_stride + y * n.y_stride + x * n.x_stride] += total;
}
