#include "lovasz.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <new>
#include <vector>

#include "pages.hpp"
#include "strips.hpp"
#include "threads.hpp"

namespace lovasz {
namespace {

// Less work than this, in elements of the logits or bins, is not worth another thread.
constexpr int64_t kGrain = 1 << 14;
// A gradient of so many bytes would not stay in a cache until it is read.
constexpr int64_t kStreamed = 4 << 20;
// A 32-bit counter is emptied before it could be full.
constexpr int64_t kMaxCounted = int64_t(1) << 31;

int64_t blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }

// As many workers as the work is worth. They must not throw: that there is no memory is thrown on the caller.
void share(int threads, int64_t size, const std::function<void(int)>& work) {
  std::atomic<bool> failed{false};
  parallel(static_cast<int>(std::min<int64_t>(threads, blocks(size, kGrain))), [&](int worker) {
    try {
      work(worker);
    } catch (const std::bad_alloc&) {
      failed = true;
    }
  });
  if (failed) throw std::bad_alloc();
}

// The tiles of an input, numbered image by image.
class Tiles {
 public:
  Tiles(const Kernel&, const Problem& problem, const Input& input)
      : problem_(problem), input_(input), length_(tile_length(problem)) {
    const int64_t* s = input.sizes;
    in_line_ = blocks(s[4], length_);
    in_image_ = s[2] * s[3] * in_line_;
  }

  int64_t in_image() const { return in_image_; }
  int64_t most_pixels() const { return length_; }
  size_t bytes() const { return 0; }
  int turns() const { return 1; }
  int turn(int64_t) const { return 0; }

  // Calls work(tile) with what has this number.
  template <class Work>
  void with(int64_t number, char*, Work work) const {
    const int64_t *s = input_.sizes, image = number / in_image_;
    int64_t rest = number % in_image_;
    const int64_t begin = rest % in_line_ * length_;
    rest /= in_line_;
    const int64_t at[5] = {image, 0, rest / s[3], rest % s[3], begin};
    Tile tile = labels_at(problem_, input_, at, static_cast<int>(std::min<int64_t>(length_, s[4] - begin)));
    tile.logits = place(input_.logits, at, element_size(problem_.real));
    tile.logits_class = input_.logits.strides[1], tile.logits_pixel = input_.logits.strides[4];
    tile.gradient = place(input_.gradient, at, element_size(problem_.real));
    tile.gradient_class = input_.gradient.strides[1], tile.gradient_pixel = input_.gradient.strides[4];
    work(tile);
  }

 private:
  const Problem& problem_;
  const Input& input_;
  int length_;
  int64_t in_line_, in_image_;
};

// Counters and scratch memory of one thread.
class Worker {
 public:
  Worker(const Problem& problem, size_t more)
      : problem_(problem),
        side_(static_cast<size_t>(problem.classes) * slots(problem)),
        counters_(2 * side_ * sizeof(uint32_t) + 3 * problem.classes * sizeof(int64_t)),
        memory_(whole_lines(counters_) + whole_lines(scratch_bytes(problem)) + more, counters_) {
    counts.background = reinterpret_cast<uint32_t*>(memory_.get());
    counts.foreground = counts.background + side_;
    counts.valid = reinterpret_cast<int64_t*>(counts.foreground + side_);
    counts.nan_background = counts.valid + problem.classes;
    counts.nan_foreground = counts.nan_background + problem.classes;
    counts.bad_labels = 0;
  }

  void clear() {
    std::fill(counts.background, counts.foreground + side_, 0u);
    std::fill(counts.valid, counts.nan_foreground + problem_.classes, int64_t(0));
  }

  char* scratch() const { return memory_.get() + whole_lines(counters_); }
  char* more() const { return scratch() + whole_lines(scratch_bytes(problem_)); }

  Counts counts;

 private:
  const Problem& problem_;
  size_t side_, counters_;
  Buffer memory_;
};

using Workers = std::vector<std::unique_ptr<Worker>>;

// Puts what the workers counted of one class into its row of the table (2, bins + 1), or adds it.
void merge_class(const Kernel& kernel, const Problem& problem, const Workers& workers, int c, bool first,
                 int64_t* row, int64_t* valid, int64_t* foreground) {
  const int64_t bins = problem.bins, n = slots(problem);
  int64_t *b = row, *f = row + bins + 1;
  if (first) b[0] = b[bins] = f[0] = f[bins] = *valid = *foreground = 0;
  const bool softmax = problem.form == Form::softmax;
  for (const auto& worker : workers) {
    if (!worker) continue;
    const Counts& counts = worker->counts;
    const uint32_t *backgrounds = counts.background + c * n, *foregrounds = counts.foreground + c * n;
    const int64_t nan_f = counts.nan_foreground[c];
    const int64_t nan_b = softmax ? counts.nan_background[0] - nan_f : counts.nan_background[c];
    int64_t lowest = 0;
    for (int i = 0; i < kSpread; ++i) lowest += foregrounds[i];
    const int64_t others = kernel.merge(backgrounds + kSpread, bins - 1, first, b + 1);
    const int64_t all_f = lowest + kernel.merge(foregrounds + kSpread, bins - 1, first, f + 1) + nan_f;
    const int64_t all = counts.valid[softmax ? 0 : c];
    f[0] += lowest, f[bins] += nan_f, b[bins] += nan_b;
    b[0] += all - all_f - others - nan_b;
    *valid += all, *foreground += all_f;
    first = false;
  }
}

}  // namespace

void Input::merge_axes() {
  // Axis 3 into 4 and 2 into 3 where every tensor steps on as if they were one; an axis of size 1 always.
  const auto merge = [this](int outer, int inner) {
    bool one = true;
    for (Tensor* t : {&logits, &target, &mask, &gradient})
      one = one && (t->data == nullptr || t->strides[outer] == t->strides[inner] * sizes[inner]);
    if (sizes[outer] == 1) return;
    if (!one && sizes[inner] != 1) return;
    for (Tensor* t : {&logits, &target, &mask, &gradient}) {
      if (sizes[inner] == 1) t->strides[inner] = t->strides[outer];
      t->strides[outer] = 0;
    }
    sizes[inner] *= sizes[outer];
    sizes[outer] = 1;
  };
  merge(3, 4);
  merge(2, sizes[3] == 1 ? 4 : 3);
}

namespace {

template <class Tiles>
Found count_all(const Kernel& kernel, const Problem& problem, const Input& input, bool per_image, int threads,
                int64_t* table, int64_t* valid, int64_t* foreground) {
  const Tiles tiles(kernel, problem, input);
  const int64_t images = input.sizes[0], rows = per_image ? images : 1, row_images = per_image ? 1 : images;
  const int64_t row_tiles = tiles.in_image() * row_images, elements = input.elements();
  const int64_t row_size = int64_t(problem.classes) * 2 * (problem.bins + 1);
  Found found = {0, {0, 0}};
  if (row_tiles == 0 || rows == 0) {
    std::fill(table, table + rows * row_size, int64_t(0));
    std::fill(valid, valid + rows * problem.classes, int64_t(0));
    std::fill(foreground, foreground + rows * problem.classes, int64_t(0));
    return found;
  }

  std::vector<CrossEntropy> sums(problem.cross_entropy ? rows * row_tiles : 1, CrossEntropy{0, 0});
  const auto count_tile = [&](Worker& worker, int64_t row, int64_t t) {
    CrossEntropy& sum = sums[problem.cross_entropy ? row * row_tiles + t : 0];
    tiles.with(row * row_tiles + t, worker.more(), [&](const Tile& tile) {
      kernel.count(problem, tile, worker.scratch(), worker.counts, sum);
    });
  };
  const auto merge = [&](const Workers& workers, int64_t row, int c, bool first) {
    const int64_t at = row * problem.classes + c;
    int64_t* counters = table + at * 2 * (problem.bins + 1);
    merge_class(kernel, problem, workers, c, first, counters, valid + at, foreground + at);
  };
  // How many tiles the counters can hold: no pixel adds more than one to any of them.
  const int64_t round = std::max<int64_t>(1, kMaxCounted / tiles.most_pixels());

  Workers workers(static_cast<size_t>(threads));
  if (rows >= threads && rows > 1) {  // whole images for each thread
    std::atomic<int64_t> next{0};
    share(threads, elements, [&](int w) {
      Workers own(1);
      own[0] = std::make_unique<Worker>(problem, tiles.bytes());
      for (int64_t row; (row = next++) < rows;) {
        for (int64_t begin = 0; begin < row_tiles; begin += round) {
          for (int64_t t = begin; t < std::min(row_tiles, begin + round); ++t) count_tile(*own[0], row, t);
          for (int c = 0; c < problem.classes; ++c) merge(own, row, c, begin == 0);
          own[0]->clear();
        }
      }
      workers[w] = std::move(own[0]);
    });
  } else {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t begin = 0; begin < row_tiles; begin += round) {
        const int64_t end = std::min(row_tiles, begin + round);
        std::atomic<int64_t> next{begin};
        share(threads, elements / rows, [&](int w) {
          if (workers[w])
            workers[w]->clear();
          else
            workers[w] = std::make_unique<Worker>(problem, tiles.bytes());
          for (int64_t t; (t = next++) < end;) count_tile(*workers[w], row, t);
        });
        std::atomic<int> next_class{0};
        share(threads, row_size, [&](int) {
          for (int c; (c = next_class++) < problem.classes;) merge(workers, row, c, begin == 0);
        });
      }
    }
  }
  for (const auto& worker : workers)
    if (worker) found.bad_labels += worker->counts.bad_labels;
  for (const CrossEntropy& sum : sums) {  // in the order of the pixels, whoever counted them
    found.cross_entropy.loss += sum.loss;
    found.cross_entropy.weight += sum.weight;
  }
  return found;
}

template <class Tiles>
void apply_all(const Kernel& kernel, const Problem& problem, const Input& input, bool per_image, int threads,
               const void* weights, const Scales& scales) {
  const Tiles tiles(kernel, problem, input);
  const int64_t total = tiles.in_image() * input.sizes[0];
  const size_t row_size = size_t(problem.classes) * 2 * (problem.bins + 1) * (problem.real == Real::f64 ? 8 : 4);
  for (int turn = 0; turn < tiles.turns(); ++turn) {
    std::atomic<int64_t> next{0};
    share(threads, input.elements(), [&](int) {
      const Buffer memory(whole_lines(scratch_bytes(problem)) + tiles.bytes(), 0);
      char *scratch = memory.get(), *more = scratch + whole_lines(scratch_bytes(problem));
      for (int64_t t; (t = next++) < total;) {
        if (tiles.turn(t) != turn) continue;
        const size_t row = per_image ? static_cast<size_t>(t / tiles.in_image()) : 0;
        const void* row_weights = static_cast<const char*>(weights) + row * row_size;
        tiles.with(t, more, [&](const Tile& tile) { kernel.apply(problem, tile, scratch, row_weights, scales); });
      }
    });
  }
}

}  // namespace

Found count(const Kernel& kernel, const Problem& problem, const Input& input, bool per_image, int threads,
            int64_t* table, int64_t* valid, int64_t* foreground) {
  const auto all = input.upsample == nullptr ? count_all<Tiles> : count_all<Strips>;
  return all(kernel, problem, input, per_image, threads, table, valid, foreground);
}

void apply(const Kernel& kernel, Problem problem, const Input& input, bool per_image, int threads,
           const void* weights, const Scales& scales) {
  const int64_t elements = input.elements();
  if (elements == 0) return;
  if (input.upsample != nullptr)
    return apply_all<Strips>(kernel, problem, input, per_image, threads, weights, scales);
  const size_t size = element_size(problem.real);
  problem.stream = elements * static_cast<int64_t>(size) >= kStreamed;
  if (problem.stream) {
    int64_t last = 0;
    for (int axis = 0; axis < 5; ++axis) last += (input.sizes[axis] - 1) * input.gradient.strides[axis];
    if (last + 1 == elements) ask_for_large_pages(input.gradient.data, size * elements);  // nothing lies between them
  }
  apply_all<Tiles>(kernel, problem, input, per_image, threads, weights, scales);
}

void weigh(const Kernel& kernel, const int64_t* table, int64_t rows, int bins, const double* steps,
           const double* factors, const Measure& measure, int threads, double* losses, bool wide, void* weights) {
  std::atomic<int64_t> next{0};
  share(threads, 2 * rows * bins, [&](int) {
    for (int64_t row; (row = next++) < rows;) {
      const int64_t at = row * 2 * (bins + 1);
      const double factor = factors[row];
      losses[row] = wide
          ? kernel.weigh64(table + at, bins, steps, factor, measure, static_cast<double*>(weights) + at)
          : kernel.weigh32(table + at, bins, steps, factor, measure, static_cast<float*>(weights) + at);
    }
  });
}

}  // namespace lovasz
