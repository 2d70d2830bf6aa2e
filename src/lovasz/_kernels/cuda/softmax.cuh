// A tile of PIXELS pixels of one image through all CLASSES, by BLOCK = PIXELS * SLICES threads: a thread has every SLICES-th
// class of one pixel, in registers where these are at most HELD. With LAST the classes of a pixel lie next to each
// other, and are read through shared memory, so that neighbouring threads read neighbouring addresses.

constexpr int EACH = (CLASSES + SLICES - 1) / SLICES;
constexpr bool IN_REGISTERS = EACH <= HELD;
constexpr int UNROLL = IN_REGISTERS ? EACH : 4;
constexpr int STAGE_ROW = CLASSES | 1;  // odd: no two pixels of a warp in one bank

struct TileMemory {
  REAL across[SLICES > 1 ? BLOCK : 1];
  REAL stage[LAST ? PIXELS * STAGE_ROW : 1];
};

struct SoftmaxTile {
  i64 image, first, p;
  int pixel, slice, label;
  bool inside, wrong, good;
  const LOGIT* logits;  // of this pixel, as are the staged ones
  const REAL* staged;
  REAL x[IN_REGISTERS ? EACH : 1];
  REAL top, total, own, inverse;
};

__device__ inline int class_of(const SoftmaxTile& tile, int k) { return k * SLICES + tile.slice; }

// Whether a thread has a k-th class: known while compiling, but for the last.
__device__ inline bool has_class(const SoftmaxTile& tile, int k) {
  return (k + 1) * SLICES <= CLASSES || class_of(tile, k) < CLASSES;
}

__device__ inline REAL logit(const Pixels& a, const SoftmaxTile& tile, int k) {
  if (IN_REGISTERS) return tile.x[k];
  const int c = class_of(tile, k);
  if (LAST) return has_class(tile, k) ? tile.staged[c] : -INFINITE;
  return tile.inside && has_class(tile, k) ? REAL(read(tile.logits + c * a.class_stride)) : -INFINITE;
}

// The sum, or with LARGEST the maximum, over the slices of a pixel, in their order: the same in all of them.
template <bool LARGEST>
__device__ inline REAL across_slices(const SoftmaxTile& tile, REAL v, TileMemory& memory) {
  if (SLICES == 1) return v;
  __syncthreads();
  memory.across[tile.slice * PIXELS + tile.pixel] = v;
  __syncthreads();
  REAL all = memory.across[tile.pixel];
  for (int s = 1; s < SLICES; ++s) {
    const REAL other = memory.across[s * PIXELS + tile.pixel];
    all = LARGEST ? larger(all, other) : all + other;
  }
  return all;
}

// A probability is that of `top` and `inverse` where the tile is `good`; elsewhere it is NaN, or the pixel is void.
__device__ inline SoftmaxTile softmax_tile(const Pixels& a, TileMemory& memory) {
  SoftmaxTile tile;
  const i64 block = blockIdx.x;
  tile.image = block / a.tiles;
  tile.first = block % a.tiles * PIXELS;
  tile.pixel = static_cast<int>(threadIdx.x) % PIXELS;
  tile.slice = static_cast<int>(threadIdx.x) / PIXELS;
  tile.p = tile.first + tile.pixel;
  tile.inside = tile.p < a.pixels;
  tile.label = -1;
  tile.wrong = false;
  const LOGIT* logits = static_cast<const LOGIT*>(a.logits) + tile.image * a.image_stride;
  tile.logits = logits + tile.p * a.pixel_stride;
  tile.staged = memory.stage + (LAST ? tile.pixel * STAGE_ROW : 0);
  if (LAST) {
    for (int i = static_cast<int>(threadIdx.x); i < PIXELS * CLASSES; i += BLOCK) {
      const i64 p = tile.first + i / CLASSES;
      const REAL v = p < a.pixels ? REAL(read(logits + p * a.pixel_stride + i % CLASSES)) : REAL(0);
      memory.stage[i / CLASSES * STAGE_ROW + i % CLASSES] = v;
    }
    __syncthreads();
  }
  if (tile.inside) {  // before the logits, so that nothing waits for what is read by it
    const Label found = read_label(a, tile.image, 0, tile.p, CLASSES);
    tile.label = found.label;
    tile.wrong = found.wrong;
  }
  if (IN_REGISTERS) {
    const LOGIT* at = tile.logits + tile.slice * a.class_stride;
#pragma unroll
    for (int k = 0; k < EACH; ++k) {
      tile.x[k] = -INFINITE;
      if (tile.inside && has_class(tile, k)) tile.x[k] = LAST ? tile.staged[class_of(tile, k)] : REAL(read(at));
      at += SLICES * a.class_stride;
    }
  }
  tile.own = tile.label >= 0 ? REAL(read(tile.logits + tile.label * a.class_stride)) : REAL(0);
  REAL top = -INFINITE;
#pragma unroll UNROLL
  for (int k = 0; k < EACH; ++k) top = larger(logit(a, tile, k), top);
  tile.top = across_slices<true>(tile, top, memory);  // where it is infinite the total is NaN
  REAL total = 0;
#pragma unroll UNROLL
  for (int k = 0; k < EACH; ++k) total += exponential(logit(a, tile, k) - tile.top);
  tile.total = across_slices<false>(tile, total, memory);
  tile.good = tile.label >= 0 && tile.total == tile.total && tile.own > -INFINITE;
  tile.inverse = tile.good ? REAL(1) / tile.total : NAN_REAL;
  return tile;
}

// The weight of a class in the cross-entropy.
__device__ inline REAL class_weight(const Entropy& ce, int c) {
  return ce.class_weights == nullptr ? REAL(1) : REAL(read(static_cast<const REAL*>(ce.class_weights) + c));
}
