// The sums of the cross-entropy and of its weights over a block.

struct SumMemory {
  double of[CROSS_ENTROPY ? BLOCK : 1];
};

__device__ inline void write_sums(const Entropy& ce, double loss, double weight, SumMemory& sums) {
  __syncthreads();
  loss = block_sum<double, BLOCK>(loss, sums.of);
  weight = block_sum<double, BLOCK>(weight, sums.of);
  if (threadIdx.x == 0) {
    double* out = static_cast<double*>(ce.sums) + 2 * static_cast<i64>(blockIdx.x);
    out[0] = loss;
    out[1] = weight;
  }
}
